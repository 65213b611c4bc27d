-- A server of this wrapper is an object store; user mappings hold the credentials.
CREATE FOREIGN DATA WRAPPER pgcopy_store NO HANDLER VALIDATOR pgcopy.store_options_validator;
COMMENT ON FOREIGN DATA WRAPPER pgcopy_store IS 'object stores and web servers that files are read from';
