use super::{Text, given};
use crate::error::or_raise;
use crate::job;
use pgrx::prelude::*;

/// Validates a backup; one row for each fault.
#[pg_extern(volatile)]
fn backup_validate(
    backup: Option<Text>,
    level: default!(Option<Text>, "'manifest'"),
) -> TableIterator<'static, (name!(backup, Text), name!(file, Option<Text>), name!(finding, Text))> {
    let request = crate::job::ValidateRequest { backup: given("backup", backup).0, level: given("level", level).0 };
    let faults = or_raise(job::backup_validate(&request));
    TableIterator::new(faults.into_iter().map(|fault| {
        let file = fault.file.map(|file| Text(plan::one_line(&file)));
        (fault.backup.into(), file, plan::one_line(&fault.finding).into())
    }))
}
