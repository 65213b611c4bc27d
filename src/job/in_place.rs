//! The targets of a pull that are loaded as they stand.

use super::enforcement::Suspended;
use super::leader::{Pull, PulledTable};
use super::shared::{Phase, Shared};
use crate::error::Result;
use crate::load;
use crate::local::identity::{Role, run_as, with_definitions_kept};
use crate::local::spi::{self, Param};
use crate::local::{catalog, cumulative_statistics, settings, transaction};
use crate::order::{ForeignKeyCheck, Loaded, group_foreign_keys};
use crate::prepare::{Counterpart, From, Method, ServerSide, Target};
use crate::source::Session;
use crate::stage::{self, RowSum};
use crate::verify;

impl Pull<'_> {
    /// Replaces the rows of the targets whose storage cannot be exchanged.
    ///
    /// Triggers do not fire, those of foreign keys included: the keys are checked when all rows are there.
    pub(super) fn load_in_place(&self, shared: Shared) -> Result<Vec<PulledTable>> {
        let From::Server(side) = &self.prepared.from else { return Ok(Vec::new()) };
        let pairs = self.prepared.targets.iter().zip(&side.counterparts);
        let pairs: Vec<_> = pairs.filter(|(target, _)| target.method == Method::InPlace).collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        shared.enter_phase(Phase::InPlace);
        with_definitions_kept(|| self.fill_in_place(shared, side, &pairs))
    }

    fn fill_in_place(
        &self,
        shared: Shared,
        side: &ServerSide,
        pairs: &[(&Target, &Counterpart)],
    ) -> Result<Vec<PulledTable>> {
        settings::with_catalog_settings(|| {
            // Code of the owners must not run while other tables' triggers and foreign keys are off.
            settings::set_local(c"session_replication_role", "origin")?;
            // Restricted code cannot leave checks for the end of the transaction.
            let mut deferred = catalog::read_deferred_constraints(&self.prepared.in_place_members)?;
            deferred.retain(|constraint| matches!(constraint.kind, 'p' | 'u' | 'x'));
            catalog::check_now(deferred.iter().map(|constraint| constraint.name.as_str()))?;
            let roots = self.prepared.published_roots();
            if !roots.is_empty() {
                let suspended = Suspended::in_tables(&self.prepared.in_place_members)?;
                roots.into_iter().try_for_each(truncate_as_owner)?;
                suspended.resume()?;
            }
            let mut report = Vec::with_capacity(pairs.len());
            for (position, (target, counterpart)) in (self.spec.tables.len()..).zip(pairs.iter().copied()) {
                let name = target.spec.qualified_name();
                shared.table_begins(position);
                // Only this target's are suspended: code of its owner, who may have rights on the others, runs
                // meanwhile.
                let members = catalog::partition_members(&[target.spec.target])?;
                let suspended = Suspended::in_tables(&members)?;
                // Expressions of indexes and constraints are the owner's code.
                let (loaded, framed) = run_as(Role::TableOwner(target.spec.owner), || {
                    spi::execute(&plan::truncate(&name, target.local.kind == 'p'))?;
                    settings::read_values_alike()?;
                    load::load_in_place(&side.session, &counterpart.table, &target.spec, move |bytes| {
                        shared.add_progress(position, None, Loaded { rows: 0, bytes });
                        shared.measure_rate();
                    })
                })?;
                suspended.resume()?;
                shared.add_progress(position, None, Loaded { rows: loaded.rows, bytes: 0 });
                framed.into_iter().for_each(|framed| shared.note_framed(position, framed));
                transaction::make_changes_visible();
                refuse_differing(&side.session, target, counterpart, &members)?;
                spi::execute(&format!("ANALYZE {name}"))?;
                cumulative_statistics::note_analyzed(&members);
                shared.table_done(position);
                self.tell_finished_tables(shared);
                report.push(PulledTable {
                    schema: target.spec.schema.clone(),
                    name: target.spec.name.clone(),
                    rows: loaded.rows,
                    bytes: loaded.bytes,
                    seconds: shared.table_seconds(position),
                    changes: None,
                    framed,
                });
            }
            catalog::let_wait_again(&deferred)?;
            self.check_keys_in_place()?;
            side.session.rollback()?;
            Ok(report)
        })
    }

    fn check_keys_in_place(&self) -> Result<()> {
        let memory = self.spec.maintenance_memory as usize * 1024;
        for group in group_foreign_keys(&self.in_place_checks) {
            let checks: Vec<&ForeignKeyCheck> = group.iter().map(|&position| &self.in_place_checks[position]).collect();
            // All targets have their new rows.
            settings::scoped(|| stage::check_foreign_keys(&checks, |_| None, memory))?;
        }
        Ok(())
    }
}

/// Triggers of the table are its owner's code; whether the table may be emptied is up to the caller.
fn truncate_as_owner(table: &str) -> Result<()> {
    let truncate = plan::truncate(table, true);
    let owner = spi::fixed::query_text(
        "SELECT c.relowner::pg_catalog.text FROM pg_catalog.pg_class c
         WHERE c.oid = $1::pg_catalog.regclass AND pg_catalog.has_table_privilege(c.oid, 'TRUNCATE')",
        &[Param::Text(table)],
    )?;
    match owner.and_then(|owner| owner.parse().ok()) {
        Some(owner) => run_as(Role::TableOwner(owner), || spi::execute(&truncate)),
        None => spi::execute(&truncate),
    }
}

/// Compares the rows of a target with those of the source's snapshot, if that was asked for.
fn refuse_differing(session: &Session, target: &Target, counterpart: &Counterpart, members: &[u32]) -> Result<()> {
    let Some(digest) = &target.spec.digest else { return Ok(()) };
    let rows = counterpart.table.rows_as_from_names_them(None, &target.spec.columns);
    let running = verify::start_sum(session, &rows, digest)?;
    let mut stored = RowSum::default();
    for &member in members {
        let part = stage::digest(member, target.spec.owner, digest, 0, 1)?;
        stored = RowSum { rows: stored.rows + part.rows, sum: stored.sum + part.sum };
    }
    match verify::difference(verify::finish_sum(session, running, counterpart.table.chosen.is_some())?, stored) {
        Some(difference) => Err(verify::differing(vec![format!("{}: {difference}", target.spec.qualified_name())])),
        None => Ok(()),
    }
}
