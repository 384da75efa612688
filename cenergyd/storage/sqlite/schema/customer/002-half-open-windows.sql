-- Every window is half open: start <= time < end, UTC seconds. Before, the columns named "until" were inclusive.
ALTER TABLE customer RENAME COLUMN pending_since TO pending_start;
ALTER TABLE customer RENAME COLUMN pending_until TO pending_end;
ALTER TABLE customer RENAME COLUMN pending_work_since TO pending_work_start;
ALTER TABLE customer RENAME COLUMN pending_work_until TO pending_work_end;
ALTER TABLE customer RENAME COLUMN jobs_since TO jobs_start;
ALTER TABLE customer RENAME COLUMN jobs_until TO jobs_end;
ALTER TABLE customer RENAME COLUMN jobs_work_since TO jobs_work_start;
ALTER TABLE customer RENAME COLUMN jobs_work_until TO jobs_work_end;
UPDATE customer SET pending_end = pending_end + 1, pending_work_end = pending_work_end + 1,
    jobs_end = jobs_end + 1, jobs_work_end = jobs_work_end + 1;
