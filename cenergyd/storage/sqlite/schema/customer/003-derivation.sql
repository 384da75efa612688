-- The result of the last derivation, JSON text. Before, it was a document of kind "derivation".
ALTER TABLE customer ADD COLUMN derivation TEXT NOT NULL DEFAULT '';
ALTER TABLE customer ADD COLUMN derivation_version INTEGER NOT NULL DEFAULT 0;
