-- The claim that ended last, until the next claim of pending work: who holds an earlier copy of readings knows by it that nobody else changed them.
ALTER TABLE customer ADD COLUMN pending_done TEXT;
ALTER TABLE customer ADD COLUMN jobs_done TEXT;
