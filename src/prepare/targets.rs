//! Targets with their counterparts: columns, wire format, parts, and the way that the rows take.

use super::problems::must_own;
use super::selection::choose;
use super::stored_rows::{StoredEnums, StoredForm};
use super::{Counterpart, From, Method, Prepared, ServerSide, Taking, Target};
use crate::error::{Result, sqlstate_class};
use crate::local::catalog::{self, Definition, Generated, Publication};
use crate::local::identity::{Role, run_as};
use crate::local::{encoding, expressions, rights, settings, spi, transaction};
use crate::order::{ChosenRows, LeaderWork, SourceTable, TableSpec};
use crate::source::{self, Session, Transport};
use frames::Compression;
use plan::catalog::{Column, Relation, attach_columns};
use plan::digest::{DigestColumn, Hash};
use plan::{PairedColumns, Pairing, PartLimits, Problem, ProblemKind, Wire};
use selection::Selection;
use std::collections::HashMap;
use std::rc::Rc;

impl Prepared {
    pub(super) fn pair_targets(
        &mut self,
        source_relations: Vec<Relation>,
        local: &[Relation],
        Taking { in_place: all_in_place, verify, transport, stored_form }: Taking,
        selection: &Selection,
        pairing: &mut Pairing,
    ) -> Result<()> {
        let From::Server(ServerSide { session, granted, .. }) = &self.from else { return Ok(()) };
        let (session, granted) = (Rc::clone(session), Rc::clone(granted));
        let mut counterparts = Vec::new();
        let slots = catalog::read_slots_without_publications()?;
        let pairs = std::mem::take(&mut pairing.pairs);
        let mut sources: Vec<Relation> = pairs.iter().map(|pair| source_relations[pair.source].clone()).collect();
        let mut targets: Vec<Relation> = pairs.iter().map(|pair| local[pair.target].clone()).collect();
        let target_oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
        self.all_targets = target_oids.clone();
        let source_oids: Vec<u32> = sources.iter().map(|source| source.oid).collect();
        attach_columns(&mut sources, source::read_columns(&session, settings::version(), &source_oids)?);
        self.columns = catalog::read_columns(self.source_version(), &target_oids)?;
        attach_columns(&mut targets, self.columns.clone());
        let used_here = catalog::read_enums(&target_oids)?;
        let mut used_there = Vec::new();
        if !used_here.is_empty() {
            used_there = source::read_enums(&session, &source_oids)?;
            pairing.enums(&used_there, &used_here, &sources);
        }
        let mut stored_enums = StoredEnums::new(&session, &used_there, &used_here);
        self.definitions = catalog::read_definitions(&target_oids)?;
        let definitions: HashMap<u32, &Definition> =
            self.definitions.iter().map(|definition| (definition.oid, definition)).collect();
        let merges = self.terms.mode.merges();
        // Statements take rights of their own.
        for table in if self.terms.take_ownership() { rights::not_owned(&target_oids)? } else { Vec::new() } {
            let target = targets.iter().filter(|target| target.oid == table.relation);
            pairing.problems.push(target.fold(must_own("table", &table), Problem::at));
        }
        let code_of_others: HashMap<u32, String> = source::read_code_of_others(&session, &source_oids)?
            .into_iter()
            .map(|code| (code.relation, code.authors))
            .collect();
        let all: HashMap<u32, &Relation> = source_relations.iter().map(|relation| (relation.oid, relation)).collect();
        let chosen = choose(&session, &granted, selection, &sources, &targets, &all, &mut pairing.problems)?;
        let mut other_money = None;
        let hash = if verify { Some(crate::verify::common_hash(&session)?) } else { None };
        for ((source, local), (chosen, key)) in sources.into_iter().zip(targets).zip(chosen) {
            let Some(definition) = definitions.get(&local.oid) else {
                pairing.problems.push(Problem::of(ProblemKind::MissingTable, &local, "was dropped meanwhile"));
                continue;
            };
            if local.persistence == 't' {
                pairing.problems.push(Problem::of(ProblemKind::Storage, &local, "is a temporary table"));
            }
            let mut warnings = if merges { Vec::new() } else { reasons_to_load_in_place(&local, definition) };
            if all_in_place && warnings.is_empty() {
                warnings.push("loaded in place: as asked for".to_owned());
            }
            let method = match (merges, warnings.is_empty()) {
                (true, _) => Method::Merge,
                (false, true) => Method::Swap,
                (false, false) => Method::InPlace,
            };
            if !merges {
                pairing.problems.extend(half_published(&local, definition, &target_oids));
            }
            let arriving = chosen.as_ref().map_or(&source, |chosen| &chosen.source);
            let Some(columns) = pairing.columns(arriving, &local) else {
                continue;
            };
            let copied = columns.copied.iter().map(|column| column.name.as_str());
            pairing.problems.extend(granted.problem_of(&source, chosen.as_ref(), copied));
            let is_partly_granted = !granted.is_whole(source.oid);
            let changed = chosen.as_ref().map(|chosen| chosen.changed.clone()).unwrap_or_default();
            let sampled_by = chosen.as_ref().map(|chosen| chosen.sampled_by.clone()).unwrap_or_default();
            warnings.extend(chosen.iter().flat_map(|chosen| chosen.warnings.iter().cloned()));
            if method == Method::InPlace {
                pairing.problems.extend(columns.rounded.iter().map(|difference| {
                    Problem::of(ProblemKind::Type, &local, format!("{difference}, where COPY would round"))
                }));
            }
            // Only what is logged is decoded.
            if method == Method::Swap && local.persistence == 'p' && !slots.is_empty() {
                warnings.push(format!("{} nothing of it, unless method is 'in place'", slots_get(&slots)));
            }
            if source.columns.iter().any(|column| column.base_type.starts_with("money")) {
                let words = match &other_money {
                    Some(words) => words,
                    None => other_money.insert(words_on_other_money(&session)?),
                };
                warnings.extend(words.clone());
            }
            let skipped: Vec<_> =
                columns.left_to_default.iter().map(|(name, _)| name).filter(|name| changed.contains(*name)).collect();
            if !skipped.is_empty() {
                let names: Vec<_> = skipped.iter().map(|name| plan::quote_identifier(name)).collect();
                warnings.push(format!("left to their defaults, as asked for: {}", names.join(", ")));
            }
            if columns.left_to_default.len() > skipped.len() {
                let names =
                    columns.left_to_default.iter().map(|(name, _)| name).filter(|name| !changed.contains(*name));
                let names: Vec<_> = names.map(|name| plan::quote_identifier(name)).collect();
                let text = format!("left to their defaults, because the source has none: {}", names.join(", "));
                self.notices.push(format!("columns of {} {text}", local.qualified_name()));
                warnings.push(text);
            }
            if !columns.generated_on_source_only.is_empty() {
                let names: Vec<_> =
                    columns.generated_on_source_only.iter().map(|name| plan::quote_identifier(name)).collect();
                let text = format!("left out, because the source computes them: {}", names.join(", "));
                self.notices.push(format!("columns of {} {text}", local.qualified_name()));
                warnings.push(text);
            }
            // Not every type of an extension sends binary values whose lengths are those of the converted texts.
            let converts = session.encoding != encoding::database_name();
            let from_extensions = || source.columns.iter().any(|column| !column.extensions.is_empty());
            let wire = if converts && from_extensions() { Wire::Text } else { columns.wire };
            let pages = u32::try_from(source.pages).unwrap_or(u32::MAX);
            let toast_pages = u32::try_from(source.toast_pages).unwrap_or(u32::MAX);
            let scans_ranges = session.version >= 140_000;
            let limits = PartLimits::for_workers(if scans_ranges { self.workers as u32 } else { 1 });
            let partitioned = source.kind == 'p';
            let is_empty = !partitioned && pages == 0;
            let transport = match transport {
                // A frame around nothing would only cost.
                Transport::Frames(Compression::Auto) if is_empty => Transport::Copy,
                transport => transport,
            };
            let mut table = SourceTable {
                name: source.qualified_name(),
                partitioned,
                generates: columns.source_generates,
                wire,
                transport,
                parts: plan::split(pages, toast_pages, limits),
                partitions: Vec::new(),
                is_partly_granted,
                chosen: chosen.as_ref().map(|chosen| chosen.rows(&columns)),
                labels: Vec::new(),
            };
            let needs_query = table.chosen.as_ref().is_some_and(ChosenRows::needs_query);
            if table.parts.len() > 1 && !granted.may_read_places(source.oid) {
                table.parts = vec![plan::Part::WHOLE];
                warnings.push("read in one part: the user of the source may not read its column ctid".to_owned());
            }
            if let Some(authors) = code_of_others.get(&source.oid) {
                if transport != Transport::Copy {
                    table.transport = Transport::Copy;
                    warnings.push(format!(
                        "not compressed: a query over it would run functions of {authors} as the user of the source"
                    ));
                }
                // A query locks tables of which only columns are granted.
                let needs_query = needs_query || is_partly_granted;
                if table.partitioned && !table.generates && !needs_query && !columns.copied.is_empty() {
                    table.partitions = partitions_to_copy(&session, &source_relations, source.oid)?;
                }
                // Only a query computes a digest.
                if !table.partitions.is_empty() && !verify {
                    table.parts = vec![plan::Part::WHOLE; table.partitions.len()];
                } else if verify || needs_query || table.partitioned || table.generates || columns.copied.is_empty() {
                    let reason = format!("a query over it would run functions of {authors} as the user of the source");
                    pairing.problems.push(Problem::of(ProblemKind::Rights, &local, reason));
                } else if table.parts.len() > 1 {
                    table.parts = vec![plan::Part::WHOLE];
                    warnings.push(format!(
                        "read in one part: a query over it would run functions of {authors} as the user of the source"
                    ));
                }
            }
            if stored_form == StoredForm::Taken && is_partly_granted {
                let reason = "the user of the source may not read all of its columns";
                warnings.push(format!("its rows are not taken as they are stored: {reason}"));
            } else if stored_form == StoredForm::Taken {
                match stored_enums.labels_of(&source, &local, &table, &columns, method)? {
                    Ok(labels) => table.take_as_stored(labels),
                    Err(reason) => warnings.push(format!("its rows are not taken as they are stored: {reason}")),
                }
            }
            let digest = hash.map(|hash| digest_of(arriving, &local, &columns, hash));
            let mut spec = TableSpec {
                target: local.oid,
                owner: definition.owner,
                schema: local.schema.clone(),
                name: local.name.clone(),
                defaults: read_defaults(local.oid, &columns.left_to_default),
                columns: columns.copied,
                pages: pages.saturating_add(toast_pages),
                expects_long_rows: toast_pages > 0 || table.parts.len() > 1,
                indexes: definition.indexes.clone(),
                checks: definition.checks.clone(),
                // The source has sorted its rows, but may have computed something else.
                checks_bounds: definition.computes_partition_key || definition.is_partition && !changed.is_empty(),
                generated: definition.generated.clone(),
                column_options: definition.column_options.clone(),
                extended_statistics: definition.extended_statistics.clone(),
                virtuals: definition.virtuals.clone(),
                analyze_slices: 1,
                new_table: None,
                leader: LeaderWork::default(),
                digest,
                merges,
            };
            spec.share_analyze(self.workers, target_oids.len() == 1);
            if wire == Wire::Text {
                warnings.push("travels as text: some column's binary form would mean something else here".to_owned());
            }
            let runs_code_of_others = code_of_others.contains_key(&source.oid);
            counterparts.push(Counterpart { relation: source, table, changed, sampled_by, key, runs_code_of_others });
            self.targets.push(Target { local, spec, method, warnings, merge: None });
        }
        if !slots.is_empty() && self.targets_by(Method::Swap).any(|target| target.local.persistence == 'p') {
            let them = if slots.len() == 1 { "it gets" } else { "they get" };
            self.notices.push(format!(
                "{} nothing of tables that are swapped; with method => 'in place' {them} all changes",
                slots_get(&slots)
            ));
        }
        if let From::Server(side) = &mut self.from {
            side.counterparts = counterparts;
        }
        Ok(())
    }

    /// The spec of a target whose defaults are those of the caller's session and transaction, as far as they are the same for
    /// all rows.
    pub(super) fn spec_for_caller(&self, target: &Target) -> Result<TableSpec> {
        let mut spec = target.spec.clone();
        for default in &mut spec.defaults {
            let expression = expressions::with_values_of_session(&default.expression)?;
            // Functions in it are the owner's code. One that cannot be computed is an error of the first row, if there is one.
            let computed = transaction::in_subtransaction(|| {
                crate::error::catch(|| {
                    run_as(Role::TableOwner(spec.owner), || {
                        settings::set_local(c"search_path", "pg_catalog, pg_temp")?;
                        expressions::with_stable_parts_computed(&expression)
                    })
                })
            });
            default.expression = match computed {
                Ok(computed) => computed,
                Err(error) if &sqlstate_class(error.sqlstate) == b"57" => return Err(error),
                Err(_) => expression,
            };
        }
        Ok(spec)
    }
}

/// The digest of a row of either side, over the columns that are copied.
fn digest_of(source: &Relation, local: &Relation, columns: &PairedColumns, hash: Hash) -> String {
    let theirs: HashMap<&str, &Column> = source.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    let copied = columns.copied.iter().filter_map(|pair| {
        let here = local.columns.iter().find(|column| column.name == pair.name)?;
        Some(DigestColumn::of_both(theirs.get(pair.name.as_str())?, here))
    });
    plan::digest::row_digest(&copied.collect::<Vec<_>>(), hash)
}

/// Why a target's storage cannot be exchanged; empty if it can.
pub(super) fn reasons_to_load_in_place(local: &Relation, definition: &Definition) -> Vec<String> {
    let mut reasons = Vec::new();
    if local.kind == 'p' {
        reasons.push("loaded in place: its partitions differ from the source's".to_owned());
    } else if local.access_method.as_deref() != Some("heap") {
        reasons.push(format!(
            "loaded in place: its access method is {}",
            local.access_method.as_deref().unwrap_or("unknown")
        ));
    }
    if let Some(extension) = &local.extension {
        reasons.push(format!("loaded in place: it belongs to extension {extension}"));
    }
    for index in definition.indexes.iter().filter(|index| index.whole_rows) {
        let name = plan::quote_identifier(&index.name);
        reasons.push(format!("loaded in place: index {name} is over whole rows"));
    }
    if !definition.publications.is_empty() {
        let names: Vec<_> = definition.publications.iter().map(|publication| publication.name.as_str()).collect();
        reasons.push(format!("loaded in place: {} publishes it", names.join(", ")));
    }
    reasons
}

/// Returns the beginning of a sentence on what these slots get.
fn slots_get(slots: &[String]) -> String {
    match slots {
        [slot] => format!("logical replication slot {slot} gets"),
        slots => format!("logical replication slots {} get", slots.join(", ")),
    }
}

/// Subscribers would get the new rows beside the old ones, or none at all.
fn half_published(local: &Relation, definition: &Definition, targets: &[u32]) -> Vec<Problem> {
    let problem = |publication: &Publication| {
        let quoted = plan::quote_identifier(&publication.name);
        if !publication.publishes_all {
            return Some(format!(
                "publication {quoted} does not publish both truncate and insert, so that subscribers could not follow; \
                 change that, or take the table out of it"
            ));
        }
        // A partition's TRUNCATE is not published then.
        let root = publication.root.as_ref()?;
        let whole = publication.leaves.iter().flatten().all(|leaf| targets.contains(leaf));
        (!whole).then(|| {
            format!("publication {quoted} publishes it as a part of {root}, which can only be pulled as a whole then")
        })
    };
    definition
        .publications
        .iter()
        .filter_map(problem)
        .map(|reason| Problem::of(ProblemKind::Storage, local, reason))
        .collect()
}

/// Those of the columns that are not NULL by default.
fn read_defaults(relation: u32, columns: &[(String, i16)]) -> Vec<Generated> {
    columns
        .iter()
        .filter_map(|&(_, number)| {
            catalog::column_default(relation, number).map(|expression| Generated { number, expression })
        })
        .collect()
}

/// Amounts of money travel as numbers of the smallest unit, which another locale may divide otherwise.
fn words_on_other_money(session: &Session) -> Result<Option<String>> {
    const SETTING: &str = "SELECT pg_catalog.current_setting('lc_monetary')";
    let (there, here) = (session.query_value(SETTING)?, spi::fixed::query_text(SETTING, &[])?.unwrap_or_default());
    Ok((there != here).then(|| {
        format!("money may mean other amounts: lc_monetary is {there} on the source and {here} on the destination")
    }))
}

/// The partitions of every level that hold the rows of a table, if all of them can be read by plain COPY.
fn partitions_to_copy(session: &Session, relations: &[Relation], root: u32) -> Result<Vec<String>> {
    let members: Vec<&Relation> = relations
        .iter()
        .filter(|relation| relation.kind != 'p' && relation.ancestors().any(|ancestor| ancestor == root))
        .collect();
    let oids: Vec<u32> = members.iter().map(|member| member.oid).collect();
    if members.iter().any(|member| member.kind != 'r') || !source::read_missing_rights(session, &oids)?.is_empty() {
        return Ok(Vec::new());
    }
    Ok(members.into_iter().map(Relation::qualified_name).collect())
}
