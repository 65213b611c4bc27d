//! As whom the code runs that users plant where PostgreSQL evaluates it: in indexes, constraints, statistics, types,
//! casts, operators, triggers, policies, rules and views.

use crate::harness::{Pair, describe, text};
use postgres::{Client, Config, NoTls};

/// Makes a role on both servers that may log in here.
fn role(pair: &mut Pair, name: &str, options: &str) {
    for client in [&mut pair.source, &mut pair.destination] {
        client
            .batch_execute(&format!(
                "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD 'secret' {options};
                 EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                 GRANT ALL ON DATABASE {} TO {name}",
                pair.database
            ))
            .unwrap();
    }
}

fn session_of(pair: &Pair, role: &str) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(&pair.database);
    config.connect(NoTls).unwrap()
}

/// The call of a function with a source that every role may use.
fn call(pair: &Pair, function: &str, arguments: &str) -> String {
    format!(
        "SELECT * FROM pgcopy.{function}('host=127.0.0.1 port={} user=app password=secret dbname={}', {arguments})",
        pair.source_port, pair.database
    )
}

fn run(client: &mut Client, sql: &str) {
    client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

#[test]
fn a_superusers_pull_does_not_make_an_ordinary_role_one() {
    let mut pair = Pair::new("no_superuser_made");
    role(&mut pair, "app", "");
    role(&mut pair, "mallory_of_keys", "");
    let payload = "
        CREATE SCHEMA mal AUTHORIZATION mallory_of_keys; SET ROLE mallory_of_keys;
        CREATE FUNCTION mal.payload() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN
            IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                EXECUTE 'ALTER ROLE mallory_of_keys SUPERUSER';
            END IF;
            RETURN '';
        END $$;
        CREATE FUNCTION mal.evil(i int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN mal.payload(); END $$;
        CREATE DOMAIN mal.dom AS int;
        CREATE TABLE mal.parent (k text PRIMARY KEY, x mal.dom, y int);
        CREATE TABLE mal.child (id int PRIMARY KEY, k text REFERENCES mal.parent);
        GRANT SELECT ON ALL TABLES IN SCHEMA mal TO app; GRANT USAGE ON SCHEMA mal TO app; RESET ROLE;
        INSERT INTO mal.parent VALUES ('a', 1, 1); INSERT INTO mal.child VALUES (1, 'a')";
    pair.both(payload);
    pair.destination
        .batch_execute(
            "SET ROLE mallory_of_keys;
             CREATE INDEX ON mal.parent ((k || mal.evil(1)));
             CREATE FUNCTION mal.check_domain(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM mal.payload(); RETURN true; END $$;
             ALTER DOMAIN mal.dom ADD CHECK (mal.check_domain(VALUE));
             CREATE STATISTICS mal.st ON (x = ANY ('{1,2}'::mal.dom[])), y FROM mal.parent;
             RESET ROLE",
        )
        .unwrap();
    let sql = call(&pair, "pull", "include => '{mal.child,mal.parent}', overwrite => true");
    for caller in ["mallory_of_keys", "postgres"] {
        for workers in [2, 0] {
            run(&mut session_of(&pair, caller), &sql.replace("true)", &format!("true, parallel => {workers})")));
            let is_superuser = "SELECT rolsuper::text FROM pg_roles WHERE rolname = 'mallory_of_keys'";
            assert_eq!(text(&mut pair.destination, is_superuser), "false", "{caller} with {workers} workers");
        }
    }
}
