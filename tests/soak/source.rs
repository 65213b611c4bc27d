//! The source: one transaction after the other changes rows of several tables, and triggers note down what every version
//! consists of.

use super::Shared;
use super::model::Rows;
use super::tables::{LASTING, PARTITION_BOUND, TABLES, Table};
use crate::harness::{Random, describe};
use postgres::Client;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the source has beside the tables.
pub fn bookkeeping() -> String {
    let mut sql = "
        CREATE TABLE soak.clock (version bigint NOT NULL);
        INSERT INTO soak.clock VALUES (0);
        CREATE TABLE soak.log (number bigserial PRIMARY KEY, version bigint NOT NULL, tab int NOT NULL, id int, hash bigint);
        CREATE INDEX ON soak.log (version);
        CREATE FUNCTION soak.version() RETURNS bigint LANGUAGE sql AS 'SELECT current_setting(''soak.version'')::bigint';
        "
    .to_owned();
    for (number, table) in TABLES.iter().enumerate() {
        let name = table.name;
        let hash = table.hash("new");
        let _ = write!(
            sql,
            "CREATE FUNCTION soak.note_{name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN
                 IF TG_OP = 'TRUNCATE' THEN
                     INSERT INTO soak.log (version, tab) VALUES (soak.version(), {number});
                 ELSIF TG_OP = 'DELETE' THEN
                     INSERT INTO soak.log (version, tab, id) VALUES (soak.version(), {number}, old.id);
                 ELSE
                     INSERT INTO soak.log (version, tab, id, hash) VALUES (soak.version(), {number}, new.id, {hash});
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION soak.note_{name}();
             CREATE TRIGGER note_truncate AFTER TRUNCATE ON {name} EXECUTE FUNCTION soak.note_{name}();\n"
        );
    }
    sql
}

/// The first version.
pub fn first_rows() -> String {
    let mut sql = begin();
    for table in &TABLES {
        let series = format!("generate_series(0, {})", table.source_rows);
        let _ = writeln!(sql, "{};", table.new_rows("'source'", "soak.version()", &series));
    }
    sql + "COMMIT"
}

/// Begins a version. Transactions that write wait for each other, so that versions are committed in their order.
fn begin() -> String {
    "BEGIN;
     SELECT pg_advisory_xact_lock(1);
     UPDATE soak.clock SET version = version + 1;
     SELECT set_config('soak.version', version::text, true) FROM soak.clock;\n"
        .into()
}

/// A session that changes rows and definitions of the source until it is told to stop.
pub struct Writer {
    pub client: Client,
    random: Random,
    number: u64,
    next_row: u32,
}

impl Writer {
    pub fn new(client: Client, seed: u64, number: u64) -> Self {
        Self { client, random: Random(seed.wrapping_mul(1000).wrapping_add(500 + number)), number, next_row: 0 }
    }

    pub fn run(&mut self, shared: &Shared) {
        while shared.goes_on() && !shared.is_round_over.load(Ordering::SeqCst) {
            let is_change = self.number == 0 || self.random.below(5) > 0;
            let statements = if is_change { vec![self.change()] } else { self.definition() };
            let limit = 50 + self.random.below(300);
            // Some changes of definitions wait for pulls as long as it takes, so that pulls give up.
            let limit = if is_change || self.random.below(4) > 0 { limit } else { 0 };
            let limit = format!("SET lock_timeout = '{limit}ms'");
            self.client.batch_execute(&limit).expect("a setting");
            for sql in statements {
                shared.note(&self.name(), &sql);
                while let Err(error) = self.client.batch_execute(&sql) {
                    shared.note(&self.name(), &describe(&error));
                    let _ = self.client.batch_execute("ROLLBACK");
                    let code = error.code().map_or("", |code| code.code());
                    if !EXPECTED.contains(&code) {
                        shared.fail(&format!("the source's session: {}", describe(&error)));
                    }
                    if !sql.contains("DROP COLUMN") || !shared.goes_on() {
                        break;
                    }
                }
            }
            let Ok(version) = self.client.query_one("SELECT version FROM soak.clock", &[]) else {
                shared.fail("the source is lost");
                return;
            };
            shared.source_version.fetch_max(version.get(0), Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10 + self.random.below(60)));
        }
    }

    pub fn name(&self) -> String {
        format!("source {}", self.number)
    }

    fn change(&mut self) -> String {
        let mut sql = begin();
        for table in &TABLES {
            if self.random.below(3) == 0 {
                sql += &self.change_of(table);
            }
        }
        for table in &TABLES {
            let _ = writeln!(sql, "UPDATE {} SET version = soak.version() WHERE id = 0;", table.name);
        }
        sql + "COMMIT"
    }

    fn change_of(&mut self, table: &Table) -> String {
        let name = table.name;
        let remainder = self.random.below(23);
        let condition = format!("id > {LASTING} AND id % 23 = {remainder}");
        match self.random.below(10) {
            0..4 => format!(
                "UPDATE {name} SET v = v + 1, version = soak.version(), payload = repeat(md5(v::text), 1 + v % 4)
                 WHERE id > 0 AND id % 23 = {remainder};\n"
            ),
            4..8 => {
                let first = 10_000 + self.next_row * 2 + self.number as u32 * 200_000;
                let rows = self.random.below(30) as u32;
                self.next_row += rows + 1;
                let series = format!("generate_series({first}, {})", first + rows);
                table.new_rows("'source'", "soak.version()", &series) + ";\n"
            }
            // What others refer to stays.
            8 => format!("DELETE FROM {name} WHERE {condition};\n"),
            _ if ["item", "ledger_a"].contains(&name) || self.random.below(3) > 0 => {
                format!("DELETE FROM {name} WHERE {condition} AND id > {PARTITION_BOUND};\n")
            }
            _ => {
                let series = format!("generate_series(0, {})", table.source_rows);
                let rows = table.new_rows("'source'", "soak.version()", &series);
                format!("TRUNCATE {name};\n{rows};\n")
            }
        }
    }

    /// Changes no row. A column that only the source has makes pulls fail as long as it is there.
    fn definition(&mut self) -> Vec<String> {
        let table = &TABLES[self.random.below(TABLES.len() as u64) as usize];
        let name = table.name;
        match self.random.below(7) {
            0 => vec![format!("VACUUM {name}")],
            1 => vec![format!("VACUUM FULL {name}")],
            2 => vec![format!("REINDEX TABLE {name}")],
            3 => vec![format!("CREATE INDEX IF NOT EXISTS {name}_v ON {name} (v)")],
            4 => vec![format!("DROP INDEX IF EXISTS {name}_v")],
            5 => vec![format!("ANALYZE {name}")],
            _ => vec![
                format!("ALTER TABLE {name} ADD COLUMN IF NOT EXISTS surplus int"),
                // Until it is gone.
                format!("ALTER TABLE {name} DROP COLUMN IF EXISTS surplus"),
            ],
        }
    }
}

/// Errors of the sessions of the source: a pull holds a lock for longer than they wait, or there is a deadlock.
const EXPECTED: [&str; 2] = ["55P03", "40P01"];

/// What each version of the source consists of.
pub struct Versions {
    client: Client,
    /// The rows of `base`, and all changes since.
    base: i64,
    rows: Vec<Rows>,
    changes: Vec<(i64, usize, Option<i32>, Option<i64>)>,
    known: i64,
}

impl Versions {
    pub fn new(client: Client) -> Self {
        let rows = TABLES.iter().map(|_| Rows::new()).collect();
        Self { client, base: 0, rows, changes: Vec::new(), known: 0 }
    }

    fn learn(&mut self, version: i64) {
        if version <= self.known {
            return;
        }
        let sql = "SELECT version, tab, id, hash FROM soak.log WHERE version > $1 ORDER BY number";
        let rows = self.client.query(sql, &[&self.known]).expect("the log of the source");
        for row in rows {
            let table: i32 = row.get(1);
            self.changes.push((row.get(0), table as usize, row.get(2), row.get(3)));
            self.known = row.get(0);
        }
    }

    /// The rows of a table in a version that is committed; None for one that never was or is forgotten.
    pub fn rows(&mut self, version: i64, table: usize) -> Option<Rows> {
        self.learn(version);
        if !(self.base..=self.known).contains(&version) {
            return None;
        }
        let mut rows = self.rows[table].clone();
        for (_, _, id, hash) in
            self.changes.iter().take_while(|change| change.0 <= version).filter(|change| change.1 == table)
        {
            apply(&mut rows, *id, *hash);
        }
        Some(rows)
    }

    /// Forgets versions that are not asked for any more.
    pub fn forget_before(&mut self, version: i64) {
        self.learn(version);
        let count = self.changes.iter().take_while(|change| change.0 <= version).count();
        for (_, table, id, hash) in self.changes.drain(..count) {
            apply(&mut self.rows[table], id, hash);
        }
        self.base = self.base.max(version);
    }
}

fn apply(rows: &mut Rows, id: Option<i32>, hash: Option<i64>) {
    match (id, hash) {
        (None, _) => rows.clear(),
        (Some(id), None) => {
            rows.remove(&id);
        }
        (Some(id), Some(hash)) => {
            rows.insert(id, hash);
        }
    }
}
