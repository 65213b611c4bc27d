COMMENT ON FUNCTION pgcopy.pull(text, text[], text[], boolean, integer, integer, boolean) IS
    'replaces the rows of local tables with those of another server, all or nothing';
COMMENT ON FUNCTION pgcopy.plan(text, text[], text[], boolean, integer, integer, boolean) IS
    'shows what pgcopy.pull with the same arguments would do; touches nothing';
COMMENT ON FUNCTION pgcopy.list(text, text, boolean) IS 'lists the tables of another server with their rows and sizes';
COMMENT ON FUNCTION pgcopy.cleanup() IS 'removes what dead jobs left behind and returns their number';
COMMENT ON FUNCTION pgcopy.version() IS 'the version of this library';
