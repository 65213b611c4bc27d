//! Triggers and rules of the targets do not fire, whatever they are enabled for, and stay as they are.

use super::pulls_alike;
use crate::harness::{Pair, text};

const TRIGGERS: &str = "
    CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''% on % fired'', tg_name, tg_relid::regclass; END';
    CREATE TRIGGER row_before BEFORE INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION shout();
    CREATE TRIGGER row_after AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION shout();
    CREATE TRIGGER always AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION shout();
    CREATE TRIGGER on_replicas BEFORE INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION shout();
    CREATE TRIGGER \"Disabled one\" AFTER INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION shout();
    CREATE TRIGGER statement AFTER INSERT OR TRUNCATE ON item EXECUTE FUNCTION shout();
    CREATE TRIGGER emptied BEFORE TRUNCATE ON item EXECUTE FUNCTION shout();
    ALTER TABLE item ENABLE ALWAYS TRIGGER always; ALTER TABLE item ENABLE REPLICA TRIGGER on_replicas;
    ALTER TABLE item ENABLE ALWAYS TRIGGER emptied; ALTER TABLE item DISABLE TRIGGER \"Disabled one\";";

const STATES: &str = "SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, tgenabled), ', ' ORDER BY tgrelid::regclass::text, tgname)
                      FROM pg_trigger WHERE NOT tgisinternal";

#[test]
fn on_an_ordinary_table() {
    let mut pair = Pair::with("zoo_triggers", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination
        .batch_execute(&format!(
            "INSERT INTO item VALUES (7); {TRIGGERS}
             CREATE RULE swallow AS ON INSERT TO item DO INSTEAD NOTHING; ALTER TABLE item ENABLE ALWAYS RULE swallow;
             CREATE RULE kept AS ON DELETE TO item DO INSTEAD NOTHING;"
        ))
        .unwrap();
    let before = text(&mut pair.destination, STATES);
    pulls_alike(&mut pair);
    assert_eq!(text(&mut pair.destination, STATES), before);
}

#[test]
fn on_a_table_that_is_loaded_in_place() {
    let mut pair = Pair::new("zoo_triggers_in_place");
    pair.source.batch_execute("CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 100)").unwrap();
    pair.destination
        .batch_execute(&format!(
            "CREATE TABLE item (id int) PARTITION BY RANGE (id); CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (50);
             CREATE TABLE item_2 PARTITION OF item DEFAULT; INSERT INTO item VALUES (7), (70);
             {};
             CREATE TRIGGER of_its_own AFTER INSERT OR TRUNCATE ON item_2 EXECUTE FUNCTION shout(); ALTER TABLE item_2 ENABLE ALWAYS TRIGGER of_its_own",
            TRIGGERS
        ))
        .unwrap();
    let before = text(&mut pair.destination, STATES);
    pair.pull("overwrite => true");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "100");
    assert_eq!(text(&mut pair.destination, STATES), before);
}

#[test]
fn event_triggers_do_not_see_what_a_pull_makes_for_itself() {
    let mut pair = Pair::with(
        "zoo_event_triggers",
        "CREATE TABLE item (id int PRIMARY KEY, v text)",
        "INSERT INTO item SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 100) i",
    );
    pair.destination
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''event %'', tg_tag; END';
             CREATE EVENT TRIGGER dropped ON sql_drop EXECUTE FUNCTION refuse();
             CREATE EVENT TRIGGER began ON ddl_command_start EXECUTE FUNCTION refuse();
             CREATE EVENT TRIGGER ended ON ddl_command_end EXECUTE FUNCTION refuse();
             CREATE EVENT TRIGGER rewritten ON table_rewrite EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    for workers in [2, 0, 2] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        pair.assert_nothing_left();
    }
    // What a failed pull leaves is removed too.
    pair.source
        .batch_execute("DROP TABLE item; CREATE TABLE item (id int, v text); INSERT INTO item VALUES (1), (1)")
        .unwrap();
    assert_eq!(pair.pull_error("overwrite => true").sqlstate, "23505");
    pair.assert_nothing_left();
}
