#!/bin/sh
# Run once by the image of PostgreSQL, when its folder is new: the service owns its database and is no superuser.
# The superuser has no password afterwards, so it logs in through the socket inside the container alone.
set -eu
psql --set=ON_ERROR_STOP=1 --no-psqlrc --quiet --dbname=postgres --set=password="$POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE b2s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
ALTER DATABASE b2s OWNER TO b2s;
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
SQL
