//! Whether rows travel as the source's heap stores them.

use super::{From, Method, Prepared, Request};
use crate::error::{Error, Result};
use crate::local::encoding;
use crate::local::identity::Caller;
use crate::order::SourceTable;
use crate::sending;
use crate::source::{self, Session};
use heapform::Labels;
use pgrx::prelude::*;
use plan::PairedColumns;
use plan::catalog::{Column, Enum, Relation};
use std::collections::HashMap;

/// How rows that are stored are treated in a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredForm {
    /// They travel as they are, where the columns of both tables allow it.
    Taken,
    /// Nobody has asked for that, or the servers differ.
    Left,
}

/// Refuses a caller who may not vouch for a source.
pub(super) fn refuse_untrusted_caller(request: &Request) -> Result<()> {
    if !request.trust_source || Caller::of_this_session().is_superuser() {
        return Ok(());
    }
    Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied to trust the source")
        .detail("Rows that a source sends as it stores them are only taken from sources that a superuser trusts.")
        .hint("A superuser can set the option of a foreign server: ALTER SERVER … OPTIONS (ADD trusted 'true')."))
}

impl Prepared {
    /// Decides for the whole source, and tells why not where a superuser trusts it.
    pub(super) fn choose_stored_form(&mut self, request: &Request) -> Result<StoredForm> {
        let From::Server(side) = &self.from else { return Ok(StoredForm::Left) };
        if !(request.trust_source || side.origin.is_trusted()) {
            return Ok(StoredForm::Left);
        }
        let lack = if request.follow_keys {
            // Which rows are taken is decided when the tables are paired.
            Some("follow_keys takes a part of them".to_owned())
        } else {
            self.lack_of_stored_form()?
        };
        match lack {
            None => Ok(StoredForm::Taken),
            Some(reason) => {
                self.notices.push(format!("no rows are taken as they are stored: {reason}"));
                Ok(StoredForm::Left)
            }
        }
    }

    /// Returns why no rows of the source can be taken as they are stored, whoever trusts it.
    fn lack_of_stored_form(&self) -> Result<Option<String>> {
        let From::Server(side) = &self.from else { return Ok(None) };
        if cfg!(target_endian = "big") || !encoding::database_is_utf8() {
            return Ok(Some("this database is not one in UTF8 on a little-endian machine".to_owned()));
        }
        let there = match source::read_stored_form(&side.session)? {
            Ok(there) => there,
            Err(lack) => return Ok(Some(lack)),
        };
        let here = sending::stored_form()?;
        Ok((there != here).then(|| format!("the source has {}, and this server {here}", plan::one_line(&there))))
    }

    /// Returns what a superuser could do for the pull, where the source could send its rows as they are stored and nobody trusts
    /// it.
    pub(super) fn advice_to_trust(&self, request: &Request) -> Result<Option<String>> {
        let From::Server(side) = &self.from else { return Ok(None) };
        if request.trust_source || side.origin.is_trusted() || self.lack_of_stored_form()?.is_some() {
            return Ok(None);
        }
        Ok(Some(
            "rows are not taken as they are stored: no superuser has declared the source trusted (option trusted of a \
             foreign server, or trust_source => true)"
                .to_owned(),
        ))
    }
}

/// The enums of both sides, whose stored values are numbers that each server has given to their labels.
pub(super) struct StoredEnums<'a> {
    session: &'a Session,
    there: HashMap<&'a str, &'a Enum>,
    here: HashMap<&'a str, &'a Enum>,
    /// Whether the source has agreed to send those of a table.
    are_sent: bool,
}

impl<'a> StoredEnums<'a> {
    pub(super) fn new(session: &'a Session, there: &'a [Enum], here: &'a [Enum]) -> Self {
        let by_name = |enums: &'a [Enum]| enums.iter().map(|kind| (kind.name.as_str(), kind)).collect();
        Self { session, there: by_name(there), here: by_name(here), are_sent: false }
    }

    /// Returns what the values of enums mean here, for rows of a table that can be taken as they are stored; otherwise why they
    /// cannot.
    pub(super) fn labels_of(
        &mut self,
        source: &Relation,
        local: &Relation,
        table: &SourceTable,
        columns: &PairedColumns,
        method: Method,
    ) -> Result<std::result::Result<Vec<Labels>, String>> {
        if let Some(reason) = reason_against(source, table, columns, method) {
            return Ok(Err(reason));
        }
        let of = |relation: &Relation| -> HashMap<String, Column> {
            relation.columns.iter().map(|column| (column.name.clone(), column.clone())).collect()
        };
        let (theirs, ours) = (of(source), of(local));
        let mut labels = Vec::new();
        for (position, pair) in columns.copied.iter().enumerate() {
            let (Some(there), Some(here)) = (theirs.get(&pair.name), ours.get(&pair.name)) else { continue };
            let name = plan::quote_identifier(&pair.name);
            if there.type_name != here.type_name || there.base_type != here.base_type {
                let (there, here) = (plan::one_line(&there.type_name), &here.type_name);
                return Ok(Err(format!("column {name} is {there} there and {here} here")));
            }
            if heapform::travels_as_stored(&here.base_type) {
                continue;
            }
            let (Some(there), Some(ours)) =
                (self.there.get(here.base_type.as_str()), self.here.get(here.base_type.as_str()))
            else {
                let kind = &here.type_name;
                return Ok(Err(format!("values of column {name} may mean something else here, being of type {kind}")));
            };
            let numbers: HashMap<&str, u32> = ours.numbered_labels().map(|(number, label)| (label, number)).collect();
            match Labels::of(position, there.numbered_labels(), |label| numbers.get(label).copied()) {
                Ok(of_column) => labels.push(of_column),
                Err(label) => {
                    let label = plan::one_line(label);
                    return Ok(Err(format!("column {name} may hold {label}, which its type does not have here")));
                }
            }
        }
        if !labels.is_empty() && !self.are_sent {
            if let Some(reason) = source::refusal_of_stored_rows(self.session, &table.name, columns)? {
                return Ok(Err(reason));
            }
            self.are_sent = true;
        }
        Ok(Ok(labels))
    }
}

/// Returns why the rows of a table cannot be taken as they are stored, whatever the types of its columns are; `None` if they can.
fn reason_against(source: &Relation, table: &SourceTable, columns: &PairedColumns, method: Method) -> Option<String> {
    if method != Method::Swap {
        return Some("it keeps its storage here".to_owned());
    }
    if source.kind != 'r' || source.access_method.as_deref() != Some("heap") || !table.partitions.is_empty() {
        return Some("it is no plain table with the access method heap on the source".to_owned());
    }
    if table.chosen.is_some() {
        return Some("not all of its rows and columns are taken".to_owned());
    }
    if columns.copied.is_empty() || columns.source_generates {
        return Some("the source computes columns, or there are none".to_owned());
    }
    None
}
