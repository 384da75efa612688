CREATE TABLE customer (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    facility TEXT NOT NULL,
    load TEXT NOT NULL,
    solar TEXT NOT NULL,
    logger_serial_number TEXT NOT NULL,
    logger_password TEXT NOT NULL,
    extensions TEXT NOT NULL,      -- JSON object
    search TEXT NOT NULL,          -- name and serial number, case-folded

    pending_since INTEGER,         -- what arrived, UTC seconds, inclusive
    pending_until INTEGER,
    pending_work_since INTEGER,    -- what is being derived, under pending_claim until pending_claim_until
    pending_work_until INTEGER,
    pending_claim TEXT,
    pending_claim_until INTEGER,
    pending_retry_at INTEGER,      -- not to be claimed before

    jobs_since INTEGER,            -- the same for the jobs
    jobs_until INTEGER,
    jobs_work_since INTEGER,
    jobs_work_until INTEGER,
    jobs_claim TEXT,
    jobs_claim_until INTEGER,
    jobs_retry_at INTEGER
);
CREATE UNIQUE INDEX customer_serial ON customer (logger_serial_number) WHERE logger_serial_number <> '';
CREATE INDEX customer_pending ON customer (pending_since) WHERE pending_since IS NOT NULL;
CREATE INDEX customer_pending_work ON customer (pending_work_since) WHERE pending_work_since IS NOT NULL;
CREATE INDEX customer_jobs ON customer (jobs_since) WHERE jobs_since IS NOT NULL;
CREATE INDEX customer_jobs_work ON customer (jobs_work_since) WHERE jobs_work_since IS NOT NULL;
