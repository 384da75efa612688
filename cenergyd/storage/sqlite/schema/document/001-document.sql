CREATE TABLE document (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,            -- JSON object
    version INTEGER NOT NULL,
    owner TEXT,
    due INTEGER,                   -- UTC seconds
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX document_owner ON document (kind, owner, key) WHERE owner IS NOT NULL;
CREATE INDEX document_due ON document (kind, due, key) WHERE due IS NOT NULL;
