use serde::{Deserialize, Serialize};

/// What becomes of the rows that a target holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// They go.
    #[default]
    Replace,
    /// They stay, and the new ones are added.
    Append,
    /// They stay, and rows whose keys are not there are added.
    InsertMissing,
    /// Those with the keys of new rows get their values, and the other new rows are added.
    Upsert,
    /// The same, and those go whose keys the source does not have.
    Sync,
}

impl Mode {
    pub const NAMES: &str = "replace, append, insert_missing, upsert, and sync";

    /// Returns the mode of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Replace, Self::Append, Self::InsertMissing, Self::Upsert, Self::Sync]
            .into_iter()
            .find(|mode| mode.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Append => "append",
            Self::InsertMissing => "insert_missing",
            Self::Upsert => "upsert",
            Self::Sync => "sync",
        }
    }

    /// Returns whether the target keeps its storage, so that the new rows are merged into it.
    pub fn merges(self) -> bool {
        self != Self::Replace
    }

    /// Returns whether rows are told apart by a key.
    pub fn needs_key(self) -> bool {
        matches!(self, Self::InsertMissing | Self::Upsert | Self::Sync)
    }

    /// Returns whether rows that are there can be lost.
    pub fn loses_rows(self) -> bool {
        matches!(self, Self::Replace | Self::Sync)
    }

    /// Returns the rights on a target that its statements take.
    pub fn privileges(self) -> &'static [&'static str] {
        match self {
            Self::Replace => &[],
            Self::Append => &["INSERT"],
            Self::InsertMissing => &["SELECT", "INSERT"],
            Self::Upsert => &["SELECT", "INSERT", "UPDATE"],
            Self::Sync => &["SELECT", "INSERT", "UPDATE", "DELETE"],
        }
    }
}
