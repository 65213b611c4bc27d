//! The materialized views that read the targets.

use super::Prepared;
use super::problems::must_own;
use crate::error::Result;
use crate::local::{catalog, rights};
use plan::Problem;
use std::collections::HashMap;

impl Prepared {
    /// Returns the materialized views that read the targets. They show the old rows until they are refreshed.
    pub(super) fn plan_refresh(&mut self, wanted: bool, problems: &mut Vec<Problem>) -> Result<()> {
        let dependents = catalog::read_dependents(&self.target_oids())?;
        if dependents.views.is_empty() {
            return Ok(());
        }
        let oids: Vec<u32> = dependents.views.iter().map(|view| view.oid).collect();
        let names: HashMap<u32, &String> = dependents.views.iter().map(|view| (view.oid, &view.name)).collect();
        let ordered: Vec<String> =
            plan::refresh_order(&oids, &dependents.reads).iter().map(|oid| names[oid].clone()).collect();
        if !wanted {
            self.notices.push(format!(
                "materialized views that keep showing the old rows, for want of refresh => true: {}",
                ordered.join(", ")
            ));
            return Ok(());
        }
        self.refreshed = ordered;
        problems.extend(rights::not_owned(&oids)?.iter().map(|view| must_own("materialized view", view)));
        Ok(())
    }
}
