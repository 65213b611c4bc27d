-- Sources can be foreign servers, whose user mappings keep passwords out of SQL text.
CREATE FOREIGN DATA WRAPPER pgcopy VALIDATOR pgcopy.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER pgcopy IS 'PostgreSQL servers to pull from';
