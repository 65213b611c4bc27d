//! A pull whose client has gone away ends by itself, wherever it waits at that moment.

use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{Pair, eventually, text};
use postgres::NoTls;

/// Loses the client of a call once `reached` finds that the call is where it should be.
fn lose_client(pair: &mut Pair, call: &str, reached: &str) {
    let proxy = Proxy::start(pair.destination_port);
    let dsn = format!("{} application_name=lost_client", proxy.dsn(&pair.database));
    let mut client = postgres::Client::connect(&dsn, NoTls).unwrap();
    let (call, call_text) = (call.to_owned(), call);
    let lost = std::thread::spawn(move || client.batch_execute(&call).unwrap_err());
    eventually(&format!("{call_text} is on its way"), || text(&mut pair.destination, reached) == "true");
    proxy.disturb(Mode::Close, 0);
    drop(proxy);
    lost.join().unwrap();
    let sessions = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'lost_client' AND datname = current_database()";
    eventually("the session has noticed", || text(&mut pair.destination, sessions) == "0");
}

#[test]
fn a_pull_ends_with_its_client() {
    let mut pair = Pair::with(
        "closed_pull",
        "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN true; END';
         CREATE TABLE item (id int CHECK (slowly()))",
        "SET session_replication_role = replica; ALTER TABLE item DROP CONSTRAINT item_check; INSERT INTO item SELECT generate_series(1, 200)",
    );
    let copying = "SELECT EXISTS (SELECT FROM pgcopy.progress WHERE phase IN ('copying', 'in place'))::text";
    for arguments in ["parallel => 1", "parallel => 0", "method => 'in place'"] {
        let pull = pair.pull_sql(arguments);
        lose_client(&mut pair, &pull, copying);
        pair.assert_nothing_left();
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "0");
    }
    // While it waits for a lock of somebody else's.
    let mut holder = pair.another_destination_session();
    holder.batch_execute("BEGIN; LOCK TABLE item IN SHARE MODE").unwrap();
    let pull = pair.pull_sql("");
    let locking = "SELECT EXISTS (SELECT FROM pgcopy.progress WHERE phase = 'locking')::text";
    lose_client(&mut pair, &pull, locking);
    holder.batch_execute("ROLLBACK").unwrap();
    pair.assert_nothing_left();
    // And while it waits for a job.
    let started = format!("SELECT pgcopy.start_pull('{}')::text", pair.dsn());
    let job = text(&mut pair.destination, &started);
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'lost_client' AND state = 'active')::text";
    lose_client(&mut pair, &format!("SELECT pgcopy.wait({job})"), waiting);
    pair.destination.batch_execute(&format!("SELECT pgcopy.cancel({job})")).unwrap();
    pair.assert_nothing_left();
}

#[test]
fn the_setting_of_the_session_stays_as_it_is() {
    let mut pair = Pair::with("closed_setting", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    for interval in ["0", "5s"] {
        pair.destination.batch_execute(&format!("SET client_connection_check_interval = '{interval}'")).unwrap();
        pair.pull("overwrite => true");
        assert_eq!(text(&mut pair.destination, "SHOW client_connection_check_interval"), interval);
    }
}
