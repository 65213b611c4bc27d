//! The dry run of a pull.

use super::{From, Prepared, Request, Target};
use crate::error::{Result, tell, warn};
use crate::local::{catalog, rights, rows, settings};
use plan::{Problem, ProblemKind, pretty_bytes};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a pull would do with one target, or what stands in its way.
#[derive(Debug, Clone, Default)]
pub struct PlannedRow {
    /// Of the table, as the next one; `None` for what is not about one table.
    pub schema: Option<String>,
    pub name: Option<String>,
    /// `None` for a table of which too little is known.
    pub target: Option<PlannedTable>,
    pub warnings: Vec<String>,
    pub problem: Option<String>,
    /// The statement, or the argument of the call, that would mend the problem.
    pub mend: Option<String>,
}

#[derive(Debug, Clone)]
pub struct PlannedTable {
    /// The planner's estimate; `None` for a table that was never analyzed.
    pub source_rows: Option<i64>,
    pub source_bytes: i64,
    pub local_bytes: i64,
    pub method: String,
    pub wire: String,
    pub parts: usize,
    pub indexes: usize,
    /// Those that are checked, each at one table.
    pub foreign_keys: usize,
}

/// What to know of the foreign keys of each target.
type KeyWarnings = HashMap<u32, Vec<String>>;

/// Plans a pull and describes what it would do with each target, and what stands in its way.
pub fn plan_pull(request: &Request, may_wait_on: &dyn Fn() -> Result<()>) -> Result<Vec<PlannedRow>> {
    let (prepared, mut problems) = super::survey(request, may_wait_on)?;
    prepared.notices.iter().for_each(|notice| tell(notice));
    prepared.left_out.iter().for_each(|table| warn(&table.warning()));
    let From::Server(side) = &prepared.from else { return Ok(Vec::new()) };
    if let Err(error) = rights::refuse_protected() {
        problems.push(Problem::new(ProblemKind::Rights, error.message).mended_by(rights::lifts_protection()?));
    }
    if !request.overwrite && prepared.terms.mode.loses_rows() {
        problems.extend(prepared.unasked_overwrites(&problems)?);
    }
    let (keys, mut key_warnings) = prepared.keys_of_targets()?;
    let chosen = if request.follow_keys && problems.iter().all(|problem| problem.kind == ProblemKind::Storage) {
        prepared.count_chosen_rows()?
    } else {
        HashMap::new()
    };
    // Problems of each table, and those of none.
    let mut of_table: BTreeMap<(&str, &str), Vec<&Problem>> = BTreeMap::new();
    let mut rows = Vec::new();
    for problem in &problems {
        if problem.tables.is_empty() {
            rows.push(PlannedRow {
                problem: Some(plan::one_line(&problem.text)),
                mend: problem.mend.as_deref().map(plan::one_line),
                ..Default::default()
            });
        }
        for (schema, name) in &problem.tables {
            of_table.entry((schema, name)).or_default().push(problem);
        }
    }
    let mut tables: BTreeMap<(&str, &str), PlannedRow> = BTreeMap::new();
    for (target, counterpart) in prepared.targets.iter().zip(&side.counterparts) {
        let local = &target.local;
        let mut warnings = target.warnings.clone();
        warnings.extend(chosen.get(&local.oid).map(|count| format!("takes {count} rows")));
        warnings.extend(key_warnings.remove(&local.oid).unwrap_or_default());
        let planned = PlannedTable {
            source_rows: counterpart.relation.estimated_rows(),
            source_bytes: counterpart.relation.bytes,
            local_bytes: local.bytes,
            method: match &target.merge {
                Some(merge) => merge.described(prepared.terms.mode),
                None => target.method.name().to_owned(),
            },
            wire: counterpart.table.described_wire(),
            parts: counterpart.table.parts.len(),
            indexes: target.spec.indexes.len(),
            foreign_keys: keys.get(&local.oid).copied().unwrap_or_default(),
        };
        tables.insert(local.key(), PlannedRow { target: Some(planned), warnings, ..Default::default() });
    }
    for table in &prepared.left_out {
        let warnings = vec![plan::one_line(&format!("left out: {}", table.reason))];
        tables.insert((&table.schema, &table.name), PlannedRow { warnings, ..Default::default() });
    }
    for key in of_table.keys() {
        tables.entry(*key).or_default();
    }
    for ((schema, name), mut row) in tables {
        (row.schema, row.name) = (Some(schema.to_owned()), Some(name.to_owned()));
        let others = PlannedRow { schema: row.schema.clone(), name: row.name.clone(), ..Default::default() };
        let mut found = of_table.remove(&(schema, name)).unwrap_or_default().into_iter();
        let told = |row: PlannedRow, problem: &Problem| PlannedRow {
            problem: Some(plan::one_line(problem.reason())),
            mend: problem.mend.as_deref().map(plan::one_line),
            ..row
        };
        rows.push(match found.next() {
            Some(first) => told(row, first),
            None => row,
        });
        rows.extend(found.map(|problem| told(others.clone(), problem)));
    }
    prepared.advice_to_trust(request)?.iter().for_each(|advice| tell(advice));
    prepared.tell_needs();
    Ok(rows)
}

impl Prepared {
    /// A problem for each target that holds rows. Of one that somebody has locked, or that is not the caller's, it is not
    /// known.
    fn unasked_overwrites(&self, problems: &[Problem]) -> Result<Vec<Problem>> {
        let foreign: HashSet<&(String, String)> = problems
            .iter()
            .filter(|problem| problem.kind == ProblemKind::Rights)
            .flat_map(|problem| &problem.tables)
            .collect();
        let mut found = Vec::new();
        for local in self.targets.iter().map(|target| &target.local) {
            if foreign.contains(&(local.schema.clone(), local.name.clone())) {
                continue;
            }
            let holds_rows =
                self.members(local.oid, local.kind)?.into_iter().any(|oid| rows::are_in_now(oid) == Some(true));
            if holds_rows {
                let problem = Problem::of(ProblemKind::Storage, local, "holds rows, and overwrite is not given");
                found.push(problem.mended_by("overwrite => true"));
            }
        }
        Ok(found)
    }

    fn members(&self, oid: u32, kind: char) -> Result<Vec<u32>> {
        match kind {
            'p' => settings::with_catalog_settings(|| catalog::partition_members(&[oid])),
            _ => Ok(vec![oid]),
        }
    }

    /// How many foreign keys are checked at each target, and what to know of those that lead out of the pull. Each key counts
    /// once: at the referencing table, or at the referenced one if the referencing one is not pulled.
    fn keys_of_targets(&self) -> Result<(HashMap<u32, usize>, KeyWarnings)> {
        let mut targets: HashMap<u32, u32> = HashMap::new();
        for Target { local, .. } in &self.targets {
            targets.extend(self.members(local.oid, local.kind)?.into_iter().map(|member| (member, local.oid)));
        }
        let (mut counts, mut warnings) = (HashMap::new(), KeyWarnings::new());
        for key in self.foreign_keys.iter().filter(|key| !self.trusted_keys.contains(&key.oid)) {
            let referencing = targets.get(&key.referencing);
            let mut ends = [key.referenced].into_iter().chain(key.referenced_leaves.iter().copied());
            let referenced = ends.find_map(|end| targets.get(&end));
            let Some(at) = referencing.or(referenced) else { continue };
            *counts.entry(*at).or_default() += 1;
            let quote = plan::quote_identifier;
            let warning = match (referencing, referenced) {
                (Some(_), None) => format!(
                    "foreign key {} leads to {}, which is not pulled: new rows without a key there fail after copying",
                    quote(&key.name),
                    quote(&key.referenced_name)
                ),
                (None, Some(_)) => format!(
                    "foreign key {} of {}, which is not pulled: rows there without a new key fail after copying",
                    quote(&key.name),
                    quote(&key.referencing_name)
                ),
                _ => continue,
            };
            warnings.entry(*at).or_default().push(warning);
        }
        Ok((counts, warnings))
    }

    /// Tells what a pull takes of both servers, in lines for a terminal of 80 columns.
    fn tell_needs(&self) {
        let From::Server(side) = &self.from else { return };
        let swapped = self.targets.iter().zip(&side.counterparts).filter(|(target, _)| target.method.stages());
        let bytes: i64 = swapped.map(|(_, counterpart)| counterpart.relation.bytes).sum();
        tell(&format!(
            "takes {} and indexes here, beside the old rows until COMMIT",
            pretty_bytes(bytes.max(0) as u64)
        ));
        tell(&format!(
            "on the source up to {} connections, ACCESS SHARE locks on {}",
            self.workers + 1,
            match side.counterparts.len() {
                1 => "1 table".to_owned(),
                count => format!("{count} tables"),
            }
        ));
    }
}
