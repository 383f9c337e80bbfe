#!/bin/sh
# Run at each start: the bucket, and a key that reaches this bucket alone. Needs the root of the S3 store for it.
set -eu
mc alias set s3 http://s3:9000 "$S3_ROOT_USER" "$S3_ROOT_PASSWORD"
mc mb --ignore-existing s3/b2s
mc admin policy create s3 b2s /b2s/policy.json
mc admin user add s3 "$S3_ACCESS_KEY" "$S3_SECRET_KEY"
if ! mc admin policy attach s3 b2s --user "$S3_ACCESS_KEY"; then # also because it is attached already
    case "$(mc admin policy entities s3 --user "$S3_ACCESS_KEY")" in *b2s*) ;; *) exit 1 ;; esac
fi
