"""Celery workers: claim a job, run it, record the outcome. Knows nothing of HTTP.

__main__  the worker's main process: Celery, sweep, metrics; never imports torch
tasks     what a pool child does when the doorbell rings
child     what a pool child owns: database, blobs, warm models
attempt   one claimed job: lease, progress, cancel, shutdown
runner    claim → work → outcome; which error means what says
explain
choice    which model a job is denoised with; warm_models keeps the last ones loaded
denoise   the work itself; so is
finetune  which first makes a training_set of what was sent, and keeps checkpoints
"""
