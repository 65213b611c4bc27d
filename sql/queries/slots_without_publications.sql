-- Logical replication slots of this database whose consumers ask for no publication.
SELECT coalesce(json_agg(s.slot_name ORDER BY s.slot_name), '[]'::json)::text
FROM pg_replication_slots s
WHERE s.slot_type = 'logical' AND s.database = current_database() AND s.plugin <> 'pgoutput'
  AND s.wal_status IS DISTINCT FROM 'lost'
