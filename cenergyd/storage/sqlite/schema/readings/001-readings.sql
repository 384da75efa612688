-- Names are long and repeat with every row, so rows carry a number.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Clustered by series and time: a range of one meter lies together on disk.
CREATE TABLE reading (
    series_id INTEGER NOT NULL,
    time INTEGER NOT NULL,
    P REAL,
    L1_PF REAL,
    L1_V REAL,
    Q REAL,
    estimated INTEGER NOT NULL,
    PRIMARY KEY (series_id, time)
) WITHOUT ROWID;

-- Field points have any fields: a JSON object.
CREATE TABLE point (
    series_id INTEGER NOT NULL,
    time INTEGER NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (series_id, time)
) WITHOUT ROWID;

-- One row that a readiness check updates: only a real write tells that the disk takes one.
CREATE TABLE reading_check (
    checks INTEGER NOT NULL
);
INSERT INTO reading_check VALUES (0);
