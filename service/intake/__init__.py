"""What arrives: bodies, parts, fields and options, up to the job that is recorded of them.

In the order of a request: body_limit and upload_bytes bound it; multipart (and header_options) reads it; parts makes
files of it, fields its options; options checks these; uploads, batch_files and training_files look at the files, in
the threads of probes; base_choice pins the models; submission records the job, batch_job that of a batch.
"""
