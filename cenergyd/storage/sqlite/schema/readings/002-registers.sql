-- The meter's energy registers, kWh; null where a meter has none and in all readings stored before.
ALTER TABLE reading ADD COLUMN E_net REAL;
ALTER TABLE reading ADD COLUMN E_import REAL;
ALTER TABLE reading ADD COLUMN E_export REAL;
