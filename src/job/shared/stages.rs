//! The stage tables of a job.

use super::Shared;
use crate::local::interrupts;
use crate::order::{JobSpec, Stage};
use std::sync::atomic::Ordering::SeqCst;

impl Shared {
    /// `first_index` is the number of indexes of the tables before this one.
    pub(in super::super) fn set_stage(&self, table: usize, first_index: usize, stage: &Stage) {
        self.table_slots()[table].stage.store(stage.heap, SeqCst);
        for (slot, &index) in self.index_slots()[first_index..].iter().zip(&stage.indexes) {
            slot.store(index, SeqCst);
        }
    }

    /// `index` counts all indexes of the job.
    pub(in super::super) fn set_stage_index(&self, index: usize, oid: u32) {
        self.index_slots()[index].store(oid, SeqCst);
    }

    pub(in super::super) fn stage(&self, table: usize, first_index: usize, indexes: usize) -> Stage {
        Stage {
            heap: self.table_slots()[table].stage.load(SeqCst),
            indexes: self.index_slots()[first_index..first_index + indexes]
                .iter()
                .map(|index| index.load(SeqCst))
                .collect(),
        }
    }

    pub(in super::super) fn stages(&self, spec: &JobSpec) -> Vec<Stage> {
        let mut first_index = 0;
        spec.tables
            .iter()
            .enumerate()
            .map(|(position, table)| {
                let stage = self.stage(position, first_index, table.indexes.len());
                first_index += table.indexes.len();
                stage
            })
            .collect()
    }

    /// Asks the steward for a TOAST table; returns false while it makes another one.
    pub(in super::super) fn ask_for_toast(&self, table: usize) -> bool {
        let wanted = &self.header().toast_wanted;
        let asked = wanted.compare_exchange(0, table as u32 + 1, SeqCst, SeqCst).is_ok();
        if asked {
            interrupts::wake(self.header().steward_pid.load(SeqCst));
        }
        asked || self.has_failed()
    }

    pub(in super::super) fn toast_wanted(&self) -> Option<usize> {
        (self.header().toast_wanted.load(SeqCst) as usize).checked_sub(1)
    }

    pub(in super::super) fn toast_made(&self) {
        self.header().toast_wanted.store(0, SeqCst);
        self.wake_everybody();
    }
}
