//! The sessions of the destination, each with random numbers of its own.

use super::model::{Event, Rows, difference};
use super::tables::{Class, TABLES, Table};
use super::{Kind, Shared};
use crate::harness::{Random, connect, describe};
use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub type Answer<T> = Result<T, postgres::Error>;

/// What sessions of this name are doing is in a transaction whose outcome can be found out when they are lost.
const KILLABLE: &str = "soak killable";

/// An object that a session has made, and that no other session drops.
#[derive(Debug, Clone)]
pub struct Object {
    pub name: String,
    pub kind: ObjectKind,
    pub table: u32,
    /// The name of the table when the object was made; names change.
    pub table_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Index,
    Constraint {
        is_validated: bool,
    },
    /// A column with a default, which every row has there.
    Column {
        value: u64,
    },
    Publication,
    Trigger,
    Statistics,
}

enum ObjectChange {
    Made(Object),
    Dropped(String),
    Validated(String),
}

/// The effects of a transaction, which the model learns when it is committed.
#[derive(Default)]
struct Effects {
    events: Vec<(u32, Event)>,
    objects: Vec<ObjectChange>,
    /// A number taken while the locks were held.
    order: i64,
}

impl Effects {
    fn append(&mut self, other: Self) {
        self.events.extend(other.events);
        self.objects.extend(other.objects);
        self.order = self.order.max(other.order);
    }
}

enum Step {
    Pull(Pull),
    Load(Load),
    Write { tables: Vec<usize>, sql: String, effect: Effect },
    Truncate { tables: Vec<usize> },
    Define { sql: String, change: Option<ObjectChange> },
    Read,
}

#[derive(Clone, Copy)]
enum Effect {
    Insert,
    Update,
    Delete,
}

struct Pull {
    tables: Vec<usize>,
    arguments: String,
    overwrite: bool,
    wait: bool,
}

struct Load {
    table: usize,
    file: usize,
    arguments: String,
    replace: bool,
    overwrite: bool,
}

/// A Parquet file, with what its rows are in each of the tables.
pub struct File {
    pub path: String,
    pub rows: HashMap<usize, Arc<Rows>>,
    /// Whether it has a row 0.
    pub is_whole: bool,
}

pub struct Session {
    pub number: u64,
    shared: Arc<Shared>,
    client: Client,
    random: Random,
    pub objects: Vec<Object>,
    next_name: u32,
    next_row: u32,
    /// Of statements without a transaction block.
    isolation: String,
}

impl Session {
    pub fn new(shared: &Arc<Shared>, seed: u64, number: u64) -> Self {
        let mut session = Self {
            number,
            shared: Arc::clone(shared),
            client: connect(shared.port, &shared.database),
            random: Random(seed.wrapping_mul(1000).wrapping_add(number)),
            objects: Vec::new(),
            next_name: 0,
            next_row: 0,
            isolation: String::new(),
        };
        session.settle();
        session
    }

    pub fn name(&self) -> String {
        format!("session {}", self.number)
    }

    pub fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            if !self.shared.goes_on() {
                return;
            }
            self.operation();
            self.shared.is_idle(&self.name());
        }
    }

    fn operation(&mut self) {
        match self.random.below(100) {
            0..18 => {
                let pull = self.a_pull();
                self.alone(Step::Pull(pull));
            }
            18..36 => self.transaction(),
            36..43 => self.background_pull(),
            43..48 => {
                let load = self.a_load();
                self.alone(Step::Load(load));
            }
            48..66 => {
                let step = self.a_write();
                self.alone(step);
            }
            66..78 => {
                let step = self.a_definition();
                self.alone(step);
            }
            78..82 => self.rename(),
            82..87 => self.maintain(),
            94..98 if self.shared.is_disturbed => self.kill(),
            98.. if self.shared.is_disturbed => self.change_settings(),
            _ => self.read_twice(),
        }
    }

    // Single statements

    fn alone(&mut self, step: Step) {
        self.shared.does(&self.name(), step.kind());
        let mut effects = Effects::default();
        match self.perform(&step, &mut effects) {
            Ok(()) => {
                self.shared.count(&format!("{:?} done", step.kind()));
                self.publish(effects);
            }
            Err(error) => {
                self.judge(&error, &step, "");
                if self.client.is_closed() {
                    // It may have been committed or not.
                    for table in step.tables() {
                        self.shared.is_uncertain(table);
                    }
                    self.reconnect();
                }
                self.roll_back();
            }
        }
    }

    /// Runs a step, in whatever transaction there is.
    fn perform(&mut self, step: &Step, effects: &mut Effects) -> Answer<()> {
        let mut own = Effects::default();
        match step {
            Step::Pull(pull) => self.perform_pull(pull, &mut own)?,
            Step::Load(load) => self.perform_load(load, &mut own)?,
            Step::Write { sql, effect, .. } => {
                let rows = self.query(sql)?;
                let Some(last) = rows.last() else { return Ok(()) };
                own.order = number(last, 2);
                let table = number(last, 3) as u32;
                let changed: Vec<_> = rows.iter().map(|row| (number(row, 0) as i32, number(row, 1))).collect();
                let event = match effect {
                    Effect::Insert => Event::Inserted(changed),
                    Effect::Update => Event::Updated(changed),
                    Effect::Delete => Event::Deleted(changed.iter().map(|row| row.0).collect()),
                };
                own.events.push((table, event));
            }
            Step::Truncate { tables } => {
                let names: Vec<_> = tables.iter().map(|table| TABLES[*table].name).collect();
                // One message is one transaction.
                let marks: Vec<_> = names.iter().map(|name| format!("'{name}'::regclass::oid")).collect();
                let sql =
                    format!("TRUNCATE {}; SELECT nextval('soak.numbers'), {}", names.join(", "), marks.join(", "));
                let rows = self.query(&sql)?;
                own.order = number(&rows[0], 0);
                for place in 0..names.len() {
                    own.events.push((number(&rows[0], place + 1) as u32, Event::Truncated));
                }
            }
            Step::Define { sql, change, .. } => {
                let rows = self.query(sql)?;
                match change {
                    Some(ObjectChange::Made(object)) => {
                        let mut object = object.clone();
                        if let Some(row) = rows.first() {
                            object.table = number(row, 0) as u32;
                        }
                        own.objects.push(ObjectChange::Made(object));
                    }
                    Some(ObjectChange::Dropped(name)) => own.objects.push(ObjectChange::Dropped(name.clone())),
                    Some(ObjectChange::Validated(name)) => own.objects.push(ObjectChange::Validated(name.clone())),
                    None => {}
                }
            }
            Step::Read => self.read_once()?,
        }
        effects.append(own);
        Ok(())
    }

    fn perform_pull(&mut self, pull: &Pull, effects: &mut Effects) -> Answer<()> {
        let newest = self.shared.source_version.load(Ordering::SeqCst);
        let rows = self.query(&format!(
            "SELECT r.\"table\", r.rows, nextval('soak.numbers'), soak.mark(r.schema, r.\"table\") FROM pgcopy.pull({}) r",
            pull.arguments
        ))?;
        let by = self.name();
        let mut version = None;
        let mut tables = HashMap::new();
        for row in &rows {
            let name = row.get(0).expect("a name").to_owned();
            let (table, of_row, count) = mark(row.get(3).expect("a mark"));
            if number(row, 1) != count {
                self.shared.fail(&format!("{by}: {name} holds {count} rows after the pull of {}", number(row, 1)));
            }
            if let Some(of_row) = of_row {
                if version.is_some_and(|version| version != of_row) {
                    self.shared.fail(&format!("{by}: one pull brought versions {version:?} and {of_row}"));
                }
                version = Some(of_row);
            }
            effects.order = effects.order.max(number(row, 2));
            tables.insert(name, table);
        }
        let version = version.unwrap_or_default();
        self.shared.note(&by, &format!("pulled version {version}"));
        if version < newest {
            self.shared.fail(&format!("{by}: version {version} was pulled after {newest} was committed"));
        }
        for number in &pull.tables {
            let table = &TABLES[*number];
            let Some(oid) =
                tables.get(table.leaves[0]).filter(|_| table.leaves.iter().all(|leaf| tables.contains_key(*leaf)))
            else {
                self.shared.fail(&format!("{by}: {} was not pulled", table.name));
                continue;
            };
            let oid = if table.leaves.len() > 1 { self.shared.partitioned } else { *oid };
            match self.shared.source_rows(version, *number) {
                Some(rows) => {
                    effects.events.push((oid, Event::Replaced { rows: Arc::new(rows), overwrite: pull.overwrite }));
                }
                None => self.shared.fail(&format!("{by}: there is no version {version}")),
            }
        }
        Ok(())
    }

    fn perform_load(&mut self, load: &Load, effects: &mut Effects) -> Answer<()> {
        let name = TABLES[load.table].name;
        let rows = self.query(&format!(
            "SELECT r.rows, nextval('soak.numbers'), soak.mark('public', '{name}') FROM pgcopy.load_parquet({}) r",
            load.arguments
        ))?;
        let (table, _, _) = mark(rows[0].get(2).expect("a mark"));
        effects.order = number(&rows[0], 1);
        let rows = Arc::clone(&self.shared.files[load.file].rows[&load.table]);
        let event = if load.replace {
            Event::Replaced { rows, overwrite: load.overwrite }
        } else {
            Event::Inserted(rows.iter().map(|(id, hash)| (*id, *hash)).collect())
        };
        effects.events.push((table, event));
        Ok(())
    }

    fn publish(&mut self, effects: Effects) {
        self.shared.add_events(&self.name(), effects.order, effects.events);
        for change in effects.objects {
            match change {
                ObjectChange::Made(object) => self.objects.push(object),
                ObjectChange::Dropped(name) => self.objects.retain(|object| object.name != name),
                ObjectChange::Validated(name) => {
                    for object in self.objects.iter_mut().filter(|object| object.name == name) {
                        object.kind = ObjectKind::Constraint { is_validated: true };
                    }
                }
            }
        }
    }

    // Transactions

    fn transaction(&mut self) {
        self.shared.does(&self.name(), Kind::Transaction);
        let level = self.isolation();
        let mut effects = Effects::default();
        let outcome = self.body(level, &mut effects);
        match outcome {
            Ok(true) => {
                self.shared.count("Transaction done");
                self.publish(effects);
            }
            Ok(false) => {}
            Err(()) => {
                if self.client.is_closed() {
                    self.reconnect();
                } else {
                    self.roll_back();
                }
            }
        }
    }

    /// Whether it was committed; an error that was judged already, if the transaction is still to be ended.
    fn body(&mut self, level: &str, effects: &mut Effects) -> Result<bool, ()> {
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SET LOCAL application_name = '{KILLABLE}'");
        self.expect(&begin, level)?;
        for _ in 0..=self.random.below(3) {
            let step = match self.random.below(10) {
                0..5 => Step::Pull(self.a_pull()),
                5 => Step::Load(self.a_load()),
                6..8 => self.a_write(),
                8 => self.a_definition(),
                _ => Step::Read,
            };
            if matches!(&step, Step::Define { sql, .. } if sql.contains("CONCURRENTLY")) {
                continue;
            }
            let has_savepoint = self.random.below(3) == 0;
            if has_savepoint {
                self.expect("SAVEPOINT step", level)?;
            }
            let mut own = Effects::default();
            let mut done = self.perform(&step, &mut own);
            if let (Ok(()), Step::Pull(pull)) = (&done, &step)
                && self.random.below(2) == 0
            {
                done = self.check_pulled(pull, &own);
            }
            if let Err(error) = done {
                self.judge(&error, &step, level);
                if !has_savepoint || self.client.is_closed() {
                    return Err(());
                }
                self.expect("ROLLBACK TO step", level)?;
            } else if has_savepoint && self.random.below(2) == 0 {
                self.expect("ROLLBACK TO step", level)?;
            } else {
                effects.append(own);
            }
            self.pause(30);
        }
        self.end(level, effects)
    }

    fn end(&mut self, level: &str, effects: &mut Effects) -> Result<bool, ()> {
        if self.random.below(5) == 0 {
            self.expect("ROLLBACK", level)?;
            return Ok(false);
        }
        let rows =
            self.expect("SELECT nextval('soak.numbers'), coalesce(pg_current_xact_id_if_assigned()::text, '')", level)?;
        effects.order = number(&rows[0], 0);
        let transaction = rows[0].get(1).unwrap_or_default().to_owned();
        if self.random.below(4) > 0 || transaction.is_empty() {
            if self.expect("COMMIT", level).is_ok() {
                return Ok(true);
            }
            if !self.client.is_closed() {
                return Err(());
            }
            self.reconnect();
            return Ok(self.was_committed(&transaction));
        }
        self.next_name += 1;
        let name = format!("soak_{}_{}", self.number, self.next_name);
        let is_prepared = self.expect(&format!("PREPARE TRANSACTION '{name}'"), level).is_ok();
        if !is_prepared {
            if !self.client.is_closed() {
                return Err(());
            }
            self.reconnect();
            // The server may still be preparing it.
            self.pause(200);
            let found = format!("SELECT FROM pg_prepared_xacts WHERE gid = '{name}'");
            if self.query(&found).is_ok_and(|rows| rows.is_empty()) {
                return Ok(false);
            }
        }
        self.pause(150);
        let commit = is_prepared && self.random.below(3) > 0;
        let sql = format!("{} PREPARED '{name}'", if commit { "COMMIT" } else { "ROLLBACK" });
        // A signal may come in between.
        for _ in 0..5 {
            match self.query(&sql) {
                Ok(_) => return Ok(commit),
                Err(error) => self.judge(&error, &Step::Read, level),
            }
            if self.client.is_closed() {
                self.reconnect();
            }
        }
        self.shared.fail(&format!("{}: {sql} does not work", self.name()));
        Ok(false)
    }

    fn was_committed(&mut self, transaction: &str) -> bool {
        let sql = format!("SELECT pg_xact_status('{transaction}'::xid8)");
        loop {
            let rows = self.query(&sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
            match rows[0].get(0) {
                Some("in progress") => std::thread::sleep(Duration::from_millis(20)),
                state => return state == Some("committed"),
            }
        }
    }

    /// Fails unless the targets hold exactly the rows of the version, before another session can change them.
    fn check_pulled(&mut self, pull: &Pull, effects: &Effects) -> Answer<()> {
        for ((_, event), table) in effects.events.iter().zip(&pull.tables) {
            let Event::Replaced { rows: expected, .. } = event else { continue };
            let table = &TABLES[*table];
            let path = if self.random.below(2) == 0 { "on" } else { "off" };
            let sql = format!(
                "SET LOCAL enable_seqscan = {path}; SELECT id, {} FROM {} t ORDER BY id",
                table.hash("t"),
                table.name
            );
            let actual: Rows = self.query(&sql)?.iter().map(|row| (number(row, 0) as i32, number(row, 1))).collect();
            if actual != **expected {
                self.shared.fail(&format!(
                    "{}: {} after its pull: {}",
                    self.name(),
                    table.name,
                    difference(expected, &actual)
                ));
            }
        }
        self.query("RESET enable_seqscan").map(|_| ())
    }

    // Background jobs

    fn background_pull(&mut self) {
        self.shared.does(&self.name(), Kind::Background);
        let pull = self.a_pull();
        if pull.tables.iter().any(|table| TABLES[*table].class == Class::Inbox) && self.shared.names_change() {
            return;
        }
        if self.try_background_pull(&pull).is_err() {
            // The job may go on without us.
            for table in &pull.tables {
                self.shared.is_uncertain(*table);
            }
            if self.client.is_closed() {
                self.reconnect();
            }
        }
    }

    fn try_background_pull(&mut self, pull: &Pull) -> Result<(), ()> {
        const NUMBER: &str = "SELECT last_value FROM soak.numbers";
        let after = number(&self.expect(NUMBER, "")?[0], 0);
        let job = match self.query(&format!("SELECT pgcopy.start_pull({})", pull.arguments)) {
            Ok(rows) => number(&rows[0], 0),
            Err(error) => {
                self.judge(&error, &Step::Read, "");
                return Err(());
            }
        };
        if self.shared.is_disturbed && self.random.below(4) == 0 {
            self.pause(150);
            self.expect(&format!("SELECT pgcopy.cancel({job})"), "")?;
            self.shared.kills();
        }
        // No snapshot is kept for long: CREATE INDEX CONCURRENTLY waits for it, and the job for CREATE INDEX.
        let mut state = None;
        for _ in 0..50 {
            let rows = self.expect(&format!("SELECT pgcopy.wait({job}, timeout => '1 s')"), "")?;
            state = rows[0].get(0).map(str::to_owned);
            if state.as_deref() != Some("running") {
                break;
            }
        }
        let before = number(&self.expect(NUMBER, "")?[0], 0);
        let by = format!("job {job} of {}", self.name());
        self.shared.note(&by, state.as_deref().unwrap_or_default());
        match state.as_deref() {
            Some("completed") => {
                self.shared.count("Background done");
                for table in &pull.tables {
                    let oid = self.shared.oid(*table);
                    self.shared.add_floating(oid, (after, before), pull.overwrite, &by);
                }
            }
            Some("failed") => {
                let sql = format!("SELECT concat_ws(E'\\n', error, detail) FROM pgcopy.jobs WHERE job = {job}");
                let text = self.expect(&sql, "")?[0].get(0).unwrap_or_default().to_owned();
                self.shared.judge_job(&self.name(), &by, &text, pull.overwrite, pull.wait);
            }
            state => self.shared.fail(&format!("{by} is {state:?}\n{}", self.shared.activity())),
        }
        Ok(())
    }

    // What there is to do

    fn a_pull(&mut self) -> Pull {
        let mut tables = Vec::new();
        let include = match self.random.below(10) {
            0 => {
                tables.extend(0..TABLES.len());
                if self.random.below(2) == 0 { String::new() } else { ", include => '{public.*}'".into() }
            }
            1..4 => {
                tables.extend((0..TABLES.len()).filter(|table| TABLES[*table].class == Class::Ledger));
                if self.random.below(2) == 0 {
                    let inbox = 9 + self.random.below(2) as usize;
                    tables.push(inbox);
                    format!(", include => '{{ledger_*, {}}}'", TABLES[inbox].name)
                } else {
                    ", include => '{ledger_*}'".into()
                }
            }
            4..6 => {
                let inbox = 9 + self.random.below(2) as usize;
                tables.push(inbox);
                format!(", include => '{{{}}}'", TABLES[inbox].name)
            }
            _ => {
                for (number, table) in TABLES.iter().enumerate() {
                    if table.class != Class::Ledger && self.random.below(3) == 0 {
                        tables.push(number);
                    }
                }
                if tables.is_empty() {
                    tables.push(Table::number("item"));
                }
                let names: Vec<_> = tables.iter().map(|table| TABLES[*table].name).collect();
                format!(", include => '{{{}}}'", names.join(", "))
            }
        };
        let all_inbox = tables.iter().all(|table| TABLES[*table].class == Class::Inbox);
        let overwrite = self.random.below(10) < if all_inbox { 3 } else { 9 };
        let wait = self.random.below(6) > 0;
        let arguments = format!(
            "'prod'{include}, overwrite => {overwrite}, parallel => {}, validate => {}, wait => {wait}",
            self.random.below(5),
            self.random.below(3) > 0
        );
        Pull { tables, arguments, overwrite, wait }
    }

    fn a_load(&mut self) -> Load {
        let inbox = self.random.below(3) > 0;
        let table = self.an_ordinary_table(inbox);
        let file = self.random.below(self.shared.files.len() as u64) as usize;
        // Without a key a file could be loaded twice.
        let replace = self.shared.files[file].is_whole || !TABLES[table].key;
        let overwrite = self.random.below(2) == 0;
        let arguments = format!(
            "'{}', target => '{}', mode => '{}', create_table => 'never', overwrite => {}, parallel => {}",
            self.shared.files[file].path,
            TABLES[table].name,
            if replace { "replace" } else { "append" },
            replace && overwrite,
            self.random.below(3)
        );
        Load { table, file, arguments, replace, overwrite }
    }

    fn an_ordinary_table(&mut self, inbox: bool) -> usize {
        loop {
            let table = self.random.below(TABLES.len() as u64) as usize;
            let class = TABLES[table].class;
            if class == Class::Inbox || class == Class::Ordinary && !inbox {
                return table;
            }
        }
    }

    fn a_write(&mut self) -> Step {
        let inbox = self.random.below(3) == 0;
        let table = self.an_ordinary_table(inbox);
        let Table { name, class, .. } = TABLES[table];
        let hash = TABLES[table].hash(name);
        let tables = vec![table];
        let remainder = self.random.below(31);
        let with = |statement: &str| {
            format!(
                "WITH d AS ({statement} RETURNING {name}.id, {hash} AS hash)
                 SELECT d.id, d.hash, nextval('soak.numbers'), '{name}'::regclass::oid FROM d"
            )
        };
        match self.random.below(20) {
            0..9 => {
                let first = (self.number as u32 + 1) * 1_000_000 + self.next_row;
                let rows = self.random.below(6) as u32;
                self.next_row += rows + 1;
                let origin = format!("'{}'", self.name());
                let insert =
                    TABLES[table].new_rows(&origin, "0", &format!("generate_series({first}, {})", first + rows));
                Step::Write { tables, sql: with(&insert), effect: Effect::Insert }
            }
            9..13 => {
                let update = format!(
                    "UPDATE {name} SET v = {name}.v + 1, origin = '{}', payload = repeat('x', {name}.v % 50)
                     WHERE {name}.id > 0 AND {name}.id % 31 = {remainder}",
                    self.name()
                );
                Step::Write { tables, sql: with(&update), effect: Effect::Update }
            }
            13..16 => {
                let condition = format!("{name}.id > 0 AND {name}.id % 31 = {remainder}");
                let condition = if class == Class::Inbox && remainder.is_multiple_of(2) { "true" } else { &condition };
                let delete = format!("DELETE FROM {name} WHERE {condition}");
                Step::Write { tables, sql: with(&delete), effect: Effect::Delete }
            }
            16 => Step::Truncate {
                tables: (0..TABLES.len()).filter(|table| TABLES[*table].class == Class::Ledger).collect(),
            },
            17 if class == Class::Ordinary && name != "item" => Step::Truncate { tables },
            _ => Step::Truncate { tables: vec![9 + self.random.below(2) as usize] },
        }
    }

    fn a_definition(&mut self) -> Step {
        if self.objects.len() >= 6 || (!self.objects.is_empty() && self.random.below(3) == 0) {
            let place = self.random.below(self.objects.len() as u64) as usize;
            return self.a_drop(place);
        }
        let unvalidated =
            self.objects.iter().find(|object| object.kind == ObjectKind::Constraint { is_validated: false });
        if let Some(object) = unvalidated.cloned()
            && self.random.below(2) == 0
        {
            let sql = format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", self.table_of(&object), object.name);
            return Step::Define { sql, change: Some(ObjectChange::Validated(object.name)) };
        }
        let table = self.random.below(TABLES.len() as u64) as usize;
        let name = TABLES[table].name;
        self.next_name += 1;
        let own = format!("s{}_{}", self.number, self.next_name);
        let partitioned = TABLES[table].leaves.len() > 1;
        let (kind, mut sql) = match self.random.below(16) {
            0 => (ObjectKind::Index, format!("CREATE INDEX {own} ON {name} (v)")),
            1 => (ObjectKind::Index, format!("CREATE UNIQUE INDEX {own} ON {name} (id, v)")),
            2 => (ObjectKind::Index, format!("CREATE INDEX {own} ON {name} (lower(payload), id)")),
            3 => {
                (ObjectKind::Index, format!("CREATE INDEX {own} ON {name} (id DESC) INCLUDE (origin) WHERE v % 2 = 0"))
            }
            4 => (ObjectKind::Index, format!("CREATE INDEX {own} ON {name} USING hash (payload)")),
            5 if !partitioned => (ObjectKind::Index, format!("CREATE INDEX CONCURRENTLY {own} ON {name} (v, id)")),
            5 | 6 => (
                ObjectKind::Constraint { is_validated: true },
                format!("ALTER TABLE {name} ADD CONSTRAINT {own} CHECK (v > -100)"),
            ),
            7 => (
                ObjectKind::Constraint { is_validated: false },
                format!("ALTER TABLE {name} ADD CONSTRAINT {own} CHECK (v % 7 >= 0) NOT VALID"),
            ),
            8 | 9 if TABLES[table].has_item() => (
                ObjectKind::Constraint { is_validated: true },
                format!("ALTER TABLE {name} ADD CONSTRAINT {own} FOREIGN KEY (item) REFERENCES item"),
            ),
            10 if TABLES[table].has_item() => (
                ObjectKind::Constraint { is_validated: false },
                format!("ALTER TABLE {name} ADD CONSTRAINT {own} FOREIGN KEY (item) REFERENCES item NOT VALID"),
            ),
            11 | 12 => {
                let value = self.random.below(1000);
                let column = ObjectKind::Column { value };
                let more = if value.is_multiple_of(2) { " NOT NULL" } else { "" };
                (column, format!("ALTER TABLE {name} ADD COLUMN {own} int DEFAULT {value}{more}"))
            }
            13 => (ObjectKind::Publication, format!("CREATE PUBLICATION {own} FOR TABLE {name}")),
            14 => (ObjectKind::Statistics, format!("CREATE STATISTICS {own} ON id, v FROM {name}")),
            _ => (
                ObjectKind::Trigger,
                format!(
                    "CREATE TRIGGER {own} BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION soak.refuse_pulled_rows()"
                ),
            ),
        };
        if !sql.contains("CONCURRENTLY") {
            // In the same transaction, since names change.
            sql += &format!("; SELECT '{name}'::regclass::oid");
        }
        let object = Object { name: own, kind, table: self.shared.oid(table), table_name: name.into() };
        Step::Define { sql, change: Some(ObjectChange::Made(object)) }
    }

    fn a_drop(&mut self, place: usize) -> Step {
        let object = self.objects[place].clone();
        let table = self.table_of(&object);
        let name = &object.name;
        let sql = match object.kind {
            ObjectKind::Index => format!("DROP INDEX {name}"),
            ObjectKind::Constraint { .. } => format!("ALTER TABLE {table} DROP CONSTRAINT {name}"),
            ObjectKind::Column { .. } => format!("ALTER TABLE {table} DROP COLUMN {name}"),
            ObjectKind::Publication => format!("DROP PUBLICATION {name}"),
            ObjectKind::Trigger => format!("DROP TRIGGER {name} ON {table}"),
            ObjectKind::Statistics => format!("DROP STATISTICS {name}"),
        };
        Step::Define { sql, change: Some(ObjectChange::Dropped(object.name)) }
    }

    /// Its name at this moment; in the next it may have another.
    fn table_of(&mut self, object: &Object) -> String {
        let sql = format!("SELECT {}::regclass", object.table);
        match self.query(&sql) {
            Ok(rows) => rows[0].get(0).unwrap_or_default().to_owned(),
            Err(_) => object.table_name.clone(),
        }
    }

    /// Exchanges the names of two tables, or takes one away for a moment.
    fn rename(&mut self) {
        self.shared.does(&self.name(), Kind::Definition);
        if !self.shared.names_change() {
            return;
        }
        if self.random.below(2) == 0 {
            let swap = "LOCK TABLE inbox_1, inbox_2; ALTER TABLE inbox_1 RENAME TO inbox_3;
                        ALTER TABLE inbox_2 RENAME TO inbox_1; ALTER TABLE inbox_3 RENAME TO inbox_2";
            self.try_definition(swap);
            return;
        }
        let away = format!("s{}_away", self.number);
        let name = TABLES[9 + self.random.below(2) as usize].name;
        if self.try_definition(&format!("ALTER TABLE {name} RENAME TO {away}")) {
            self.pause(50);
            while !self.try_definition(&format!("ALTER TABLE {away} RENAME TO {name}")) && self.shared.goes_on() {}
        }
    }

    fn try_definition(&mut self, sql: &str) -> bool {
        match self.query(sql) {
            Ok(_) => true,
            Err(error) => {
                let step = Step::Define { sql: sql.to_owned(), change: None };
                self.judge(&error, &step, "");
                if self.client.is_closed() {
                    self.reconnect();
                }
                false
            }
        }
    }

    fn maintain(&mut self) {
        self.shared.does(&self.name(), Kind::Definition);
        let name = TABLES[self.random.below(TABLES.len() as u64) as usize].name;
        let single = if name == "part" { "part_2" } else { name };
        let sql = match self.random.below(9) {
            0 => format!("VACUUM {name}"),
            1 => format!("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {name}"),
            2 => format!("VACUUM FULL {name}"),
            3 => format!("ANALYZE {name}"),
            4 => format!("REINDEX TABLE {single}"),
            5 => format!("REINDEX TABLE CONCURRENTLY {single}"),
            6 if single != "plain" && !single.starts_with("inbox") => format!("CLUSTER {single} USING {single}_pkey"),
            7 => "ANALYZE".into(),
            _ => "CHECKPOINT".into(),
        };
        self.try_definition(&sql);
    }

    // Readers

    /// Two looks in one transaction show the same.
    fn read_twice(&mut self) {
        self.shared.does(&self.name(), Kind::Transaction);
        let table = &TABLES[self.random.below(TABLES.len() as u64) as usize];
        let sum = format!(
            "SELECT count(*), coalesce(sum({}), 0)::text, min(id)::text FROM {} t",
            table.hash("t"),
            table.name
        );
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
        let read = self.query(begin).and_then(|_| {
            let first = self.query(&sum)?;
            self.pause(200);
            let second = self.query(&sum)?;
            let text =
                |rows: &[SimpleQueryRow]| (0..3).map(|place| rows[0].get(place).map(str::to_owned)).collect::<Vec<_>>();
            if text(&first) != text(&second) {
                let what =
                    format!("{} changed in one transaction: {:?} and {:?}", table.name, text(&first), text(&second));
                self.shared.fail(&format!("{}: {what}", self.name()));
            }
            self.read_once()
        });
        if let Err(error) = read {
            self.judge(&error, &Step::Read, "REPEATABLE READ");
        }
        if self.client.is_closed() {
            self.reconnect();
        }
        self.roll_back();
    }

    /// What must be true at any time.
    fn read_once(&mut self) -> Answer<()> {
        match self.random.below(4) {
            0 => {
                // A transaction with an older snapshot may find tables empty that were truncated since.
                let rows = self.query(
                    "SELECT a.version, b.version, c.version, current_setting('transaction_isolation')
                     FROM (SELECT max(version) AS version FROM ledger_a WHERE id = 0) a,
                          (SELECT max(version) AS version FROM ledger_b WHERE id = 0) b,
                          (SELECT max(version) AS version FROM ledger_c WHERE id = 0) c",
                )?;
                let mut seen: Vec<_> = (0..3).map(|place| rows[0].get(place)).collect();
                if rows[0].get(3) != Some("read committed") {
                    seen.retain(Option::is_some);
                }
                seen.dedup();
                if seen.len() > 1 {
                    self.shared.fail(&format!("{}: the tables of one pull have versions {seen:?}", self.name()));
                }
            }
            1 => {
                let rows = self.query(
                    "SELECT count(*) FROM tag WHERE item IS NOT NULL AND NOT EXISTS (SELECT FROM item WHERE item.id = tag.item)
                     AND current_setting('transaction_isolation') = 'read committed'",
                )?;
                if number(&rows[0], 0) != 0 {
                    self.shared.fail(&format!("{}: {} rows of tag refer to nothing", self.name(), number(&rows[0], 0)));
                }
            }
            2 => {
                let table = &TABLES[self.random.below(TABLES.len() as u64) as usize];
                let value = self.random.below(200);
                let sql = format!("SELECT string_agg(id::text, ' ' ORDER BY id) FROM {} WHERE v = {value}", table.name);
                // One statement each: in between, only those of one transaction see the same.
                let both = self.query(&format!(
                    "LOCK TABLE {} IN SHARE MODE; SET enable_seqscan = off; {sql}; SET enable_seqscan = on; {sql}; RESET enable_seqscan",
                    table.name
                ))?;
                if both[0].get(0) != both[1].get(0) {
                    let what = format!(
                        "{} with v = {value}: {:?} by index, {:?} without",
                        table.name,
                        both[0].get(0),
                        both[1].get(0)
                    );
                    self.shared.fail(&format!("{}: {what}", self.name()));
                }
            }
            _ => {
                let table = &TABLES[self.random.below(TABLES.len() as u64) as usize];
                let rows = self.query(&format!(
                    "SELECT count(*) FROM {} WHERE g IS DISTINCT FROM v::bigint * 2 + length(payload)",
                    table.name
                ))?;
                if number(&rows[0], 0) != 0 {
                    self.shared.fail(&format!("{}: generated columns of {} are wrong", self.name(), table.name));
                }
            }
        }
        Ok(())
    }

    // Disturbances

    fn kill(&mut self) {
        self.shared.does(&self.name(), Kind::Other);
        let signal = if self.random.below(2) == 0 { "pg_cancel_backend" } else { "pg_terminate_backend" };
        let victim = match self.random.below(4) {
            0 => format!("application_name = '{KILLABLE}'"),
            _ => "backend_type = 'pgcopy'".into(),
        };
        self.shared.kills();
        let sql = format!(
            "SELECT {signal}(pid), query FROM pg_stat_activity
             WHERE datname = current_database() AND {victim} AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
        );
        if let Err(error) = self.query(&sql) {
            self.judge(&error, &Step::Read, "");
        }
        self.shared.kills();
        if self.client.is_closed() {
            self.reconnect();
        }
    }

    /// What new sessions and background processes begin with.
    fn change_settings(&mut self) {
        self.shared.does(&self.name(), Kind::Other);
        let whom = ["DATABASE soak", "ROLE postgres", "ROLE postgres IN DATABASE soak"][self.random.below(3) as usize];
        let settings = super::SETTINGS;
        let setting = settings[self.random.below(settings.len() as u64) as usize];
        let sql = format!("ALTER {whom} {setting}");
        if let Err(error) = self.query(&sql) {
            // Another session does the same.
            let text = describe(&error);
            if !text.contains("tuple concurrently updated") {
                self.judge(&error, &Step::Read, "");
            }
        }
        self.reconnect();
    }

    fn reconnect(&mut self) {
        self.client = connect(self.shared.port, &self.shared.database);
        self.settle();
    }

    fn settle(&mut self) {
        // The settings are for the processes of jobs; the sessions must be able to work.
        let sql = "SET default_transaction_read_only = off; SET default_transaction_deferrable = off;
                   SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
                   SET session_replication_role = origin;
                   SELECT pg_backend_pid(), current_setting('default_transaction_isolation')";
        let rows = self.query(sql).expect("a session");
        self.isolation = rows[0].get(1).unwrap_or_default().to_owned();
        self.shared.has_session(&self.name(), number(&rows[0], 0) as i32);
    }

    // Helpers

    fn isolation(&mut self) -> &'static str {
        ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][self.random.below(3) as usize]
    }

    fn pause(&mut self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(self.random.below(milliseconds + 1)));
    }

    fn roll_back(&mut self) {
        // A signal may come in between.
        for _ in 0..5 {
            if self.client.batch_execute("ROLLBACK").is_ok() {
                return;
            }
            if self.client.is_closed() {
                self.reconnect();
            }
        }
    }

    /// All rows of all statements.
    fn query(&mut self, sql: &str) -> Answer<Vec<SimpleQueryRow>> {
        self.shared.note(&self.name(), sql);
        let started = Instant::now();
        let answer = self.client.simple_query(sql);
        let milliseconds = started.elapsed().as_millis();
        match &answer {
            Ok(_) => self.shared.note(&self.name(), &format!("  done in {milliseconds} ms")),
            Err(error) => self.shared.note(&self.name(), &format!("  {} in {milliseconds} ms", describe(error))),
        }
        Ok(answer?
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// Runs a statement that fails only by signals, deadlocks and serialization.
    fn expect(&mut self, sql: &str, level: &str) -> Result<Vec<SimpleQueryRow>, ()> {
        self.query(sql).map_err(|error| self.judge(&error, &Step::Read, level))
    }

    fn judge(&self, error: &postgres::Error, step: &Step, level: &str) {
        // A pull that is a transaction of its own does not depend on older snapshots.
        let level =
            if level.is_empty() && !matches!(step, Step::Pull(_) | Step::Load(_)) { &self.isolation } else { level };
        self.shared.judge(
            &self.name(),
            error,
            &step.allows(),
            !["", "read committed", "READ COMMITTED"].contains(&level),
        );
    }
}

impl Step {
    fn kind(&self) -> Kind {
        match self {
            Self::Pull(_) | Self::Load(_) => Kind::Pull,
            Self::Write { .. } => Kind::Write,
            Self::Truncate { .. } | Self::Define { .. } => Kind::Definition,
            Self::Read => Kind::Other,
        }
    }

    fn tables(&self) -> Vec<usize> {
        match self {
            Self::Pull(pull) => pull.tables.clone(),
            Self::Load(load) => vec![load.table],
            Self::Write { tables, .. } | Self::Truncate { tables } => tables.clone(),
            Self::Define { .. } | Self::Read => Vec::new(),
        }
    }

    /// The errors that a step may end with, whatever the others do.
    fn allows(&self) -> Vec<&'static str> {
        let mut codes = Vec::new();
        let renamed = self.tables().iter().any(|table| TABLES[*table].class == Class::Inbox);
        if renamed {
            // Another session has taken the name away.
            codes.push("42P01");
        }
        match self {
            Self::Pull(pull) => {
                // The definition changed; a row refers to one that is elsewhere; the source has a column too many.
                codes.extend(["55006", "23503", "42703"]);
                if !pull.overwrite {
                    codes.push("55000");
                }
                if !pull.wait {
                    codes.push("55P03");
                }
            }
            Self::Load(load) => {
                codes.extend(["55006", "23503"]);
                if !load.replace {
                    codes.push("23505");
                } else if !load.overwrite {
                    codes.push("55000");
                }
            }
            Self::Write { .. } => codes.push("23503"),
            // Others refer to the table; rows refer to nothing; the transaction itself uses it.
            Self::Truncate { .. } => codes.extend(["0A000", "55006"]),
            Self::Define { .. } => codes.extend(["23503", "55006", "42P01", "42703", "42704", "42P07"]),
            Self::Read => codes.push("42P01"),
        }
        codes
    }
}

fn number(row: &SimpleQueryRow, place: usize) -> i64 {
    row.get(place).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number in column {place}"))
}

/// OID, version of row 0, number of rows.
fn mark(text: &str) -> (u32, Option<i64>, i64) {
    let parts: Vec<&str> = text.split(',').collect();
    (parts[0].parse().expect("an OID"), parts[1].parse().ok(), parts[2].parse().expect("a count"))
}
