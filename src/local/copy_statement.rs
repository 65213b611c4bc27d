//! A COPY statement of our format, or of a script: its parts, and the steps of the server's own COPY before the first row.

use super::encoding::{self, text_at};
use super::nodes::make_node;
use super::query::{Source, StartedQuery, name_of};
use super::relation;
use super::rights;
use crate::compat;
use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::{PgList, pg_sys};
use std::ffi::{CStr, c_char};

/// The name of our format.
const FORMAT: &CStr = c"parquet";

/// A COPY statement before its names are looked up.
pub struct CopyStatement {
    planned: *mut pg_sys::PlannedStmt,
    copy: *mut pg_sys::CopyStmt,
    state: *mut pg_sys::ParseState,
}

/// The source or destination of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Client,
    Program,
    /// The name's bytes, in the database's encoding.
    File(Vec<u8>),
}

/// One of the options in parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOption {
    pub name: String,
    pub value: Option<String>,
}

/// The table of a COPY FROM, locked as COPY locks it, with the caller's rights checked.
pub struct CopyTable {
    pub relation: u32,
    /// The columns that the rows have values for, in the order of these.
    pub filled: Vec<String>,
    /// Whether the statement lists them.
    pub lists_columns: bool,
    pub where_clause: Option<WhereClause>,
}

/// The condition of COPY FROM … WHERE, planned. It lives as long as the statement.
#[derive(Debug)]
pub struct WhereClause(*mut pg_sys::List);

impl WhereClause {
    /// Returns the condition for `ExecInitQual`. Its columns are those of the scan tuple, which is a row of the table.
    pub fn qualification(&self) -> *mut pg_sys::List {
        self.0
    }
}

/// The started query of a COPY TO.
pub struct CopySource {
    /// 0 for a query.
    pub relation: u32,
    pub query: StartedQuery,
}

/// Returns whether a statement is a COPY whose format is ours.
///
/// # Safety
/// The statement is a parse tree of the server, or null.
pub(super) unsafe fn is_ours(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: promised by the caller; options are always such elements, and the tag says what a value is.
    unsafe {
        if statement.is_null() || (*statement).type_ != pg_sys::NodeTag::T_CopyStmt {
            return false;
        }
        let options = PgList::<pg_sys::DefElem>::from_pg((*statement.cast::<pg_sys::CopyStmt>()).options);
        options.iter_ptr().any(|option| {
            let value = (*option).arg;
            CStr::from_ptr((*option).defname) == c"format"
                && !value.is_null()
                && (*value).type_ == pg_sys::NodeTag::T_String
                && CStr::from_ptr((*value.cast::<pg_sys::String>()).sval) == FORMAT
        })
    }
}

impl CopyStatement {
    /// # Safety
    /// The statement is one of ours, may be changed, and lives as long as this; so does the parse state.
    pub(super) unsafe fn new(planned: *mut pg_sys::PlannedStmt, state: *mut pg_sys::ParseState) -> Self {
        // SAFETY: promised by the caller.
        let copy = unsafe { (*planned).utilityStmt }.cast();
        Self { planned, copy, state }
    }

    /// Parses a COPY FROM STDIN. The statement is used as long as the text lives.
    pub fn parse(text: &CStr) -> Result<Self> {
        // SAFETY: nodes are made in the current memory context, and looked at by their tags.
        unsafe {
            let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(text.as_ptr()));
            let raw = statements.get_ptr(0).filter(|_| statements.len() == 1);
            let raw = raw.filter(|&raw| (*(*raw).stmt).type_ == pg_sys::NodeTag::T_CopyStmt);
            let raw = raw.ok_or_else(|| Error::internal("a statement with rows is no COPY"))?;
            let planned = make_node::<pg_sys::PlannedStmt>(pg_sys::NodeTag::T_PlannedStmt);
            (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*planned).utilityStmt = (*raw).stmt;
            (*planned).stmt_location = (*raw).stmt_location;
            (*planned).stmt_len = (*raw).stmt_len;
            let state = pg_sys::make_parsestate(std::ptr::null_mut());
            (*state).p_sourcetext = text.as_ptr();
            let statement = Self::new(planned, state);
            if !statement.is_from() || statement.endpoint() != Endpoint::Client || (*statement.copy).relation.is_null()
            {
                return Err(Error::internal("a statement with rows is no COPY FROM STDIN"));
            }
            Ok(statement)
        }
    }

    /// Fills the table with the rows that the callback has, which are in the encoding of this name unless the statement says
    /// otherwise. Returns their number.
    pub fn copy_from(&self, table: &CopyTable, encoding: &CStr, source: pg_sys::copy_data_source_cb) -> u64 {
        // SAFETY: see `new`; the table was opened by `open_table`, whose lock is kept, with this parse state. As DoCopy does it.
        unsafe {
            let relation = pg_sys::table_open(table.relation.into(), pg_sys::NoLock as pg_sys::LOCKMODE);
            let mut options = pg_sys::list_copy((*self.copy).options);
            let given = PgList::<pg_sys::DefElem>::from_pg(options);
            if !given.iter_ptr().any(|option| CStr::from_ptr((*option).defname) == c"encoding") {
                let value = pg_sys::makeString(pg_sys::pstrdup(encoding.as_ptr()));
                let option = pg_sys::makeDefElem(pg_sys::pstrdup(c"encoding".as_ptr()), value.cast(), -1);
                options = pg_sys::lappend(options, option.cast());
            }
            let condition = table.where_clause.as_ref().map_or(std::ptr::null_mut(), |clause| clause.0);
            let columns = (*self.copy).attlist;
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let copy = pg_sys::BeginCopyFrom(
                self.state,
                relation,
                condition.cast(),
                std::ptr::null(),
                false,
                source,
                columns,
                options,
            );
            let rows = pg_sys::CopyFrom(copy);
            pg_sys::EndCopyFrom(copy);
            pg_sys::PopActiveSnapshot();
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            rows
        }
    }

    pub fn is_from(&self) -> bool {
        // SAFETY: see `new`.
        unsafe { (*self.copy).is_from }
    }

    pub fn endpoint(&self) -> Endpoint {
        // SAFETY: see `new`; the name is NUL-terminated.
        unsafe {
            if (*self.copy).filename.is_null() {
                Endpoint::Client
            } else if (*self.copy).is_program {
                Endpoint::Program
            } else {
                Endpoint::File(CStr::from_ptr((*self.copy).filename).to_bytes().to_vec())
            }
        }
    }

    pub fn options(&self) -> Vec<CopyOption> {
        // SAFETY: see `new`; the function returns a text for every value that is there.
        unsafe {
            let options = PgList::<pg_sys::DefElem>::from_pg((*self.copy).options);
            options
                .iter_ptr()
                .map(|option| CopyOption {
                    name: text_at((*option).defname),
                    value: (!(*option).arg.is_null()).then(|| text_at(pg_sys::defGetString(option))),
                })
                .collect()
        }
    }

    /// Refuses COPY FROM in a read-only transaction as the server does, which lets it fill temporary tables.
    pub fn refuse_where_writing_is_forbidden(&self) {
        // SAFETY: reads backend-local state; raises an error.
        unsafe {
            if self.is_from() && (pg_sys::XactReadOnly || pg_sys::IsInParallelMode()) {
                pg_sys::PreventCommandIfParallelMode(c"COPY".as_ptr());
                pg_sys::PreventCommandDuringRecovery(c"COPY".as_ptr());
            }
        }
    }

    /// Opens the table that a COPY FROM fills.
    pub fn open_table(&self) -> Result<CopyTable> {
        // SAFETY: see `new`; the relation is closed again on every way but an error that is raised.
        unsafe {
            let (relation, item) = self.open_relation(pg_sys::RowExclusiveLock as i32, pg_sys::ACL_INSERT);
            let oid = (*relation).rd_id;
            let table = self.check_table(relation, item);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            let (filled, lists_columns, qualification) = table?;
            let where_clause = qualification.map(WhereClause);
            Ok(CopyTable { relation: oid.to_u32(), filled, lists_columns, where_clause })
        }
    }

    unsafe fn check_table(
        &self,
        relation: pg_sys::Relation,
        item: *mut pg_sys::ParseNamespaceItem,
    ) -> Result<(Vec<String>, bool, Option<*mut pg_sys::List>)> {
        // SAFETY: the caller opened the relation.
        unsafe {
            let qualification = self.plan_where(relation, item)?;
            let numbers = self.column_numbers(relation);
            compat::require_permission_on_columns(item, pg_sys::ACL_INSERT, &numbers);
            compat::check_permissions(self.state);
            if rights::row_security_applies((*relation).rd_id.to_u32()) {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "COPY FROM not supported with row-level security",
                )
                .hint("Use INSERT statements instead."));
            }
            if pg_sys::XactReadOnly && !(*relation).rd_islocaltemp {
                pg_sys::PreventCommandIfReadOnly(c"COPY FROM".as_ptr());
            }
            refuse_to_fill(relation)?;
            let attributes = relation::attributes((*relation).rd_att);
            let names = numbers.iter().map(|number| attributes[*number as usize - 1].name.clone()).collect();
            let listed = !(*self.copy).attlist.is_null();
            Ok((names, listed, qualification))
        }
    }

    /// Starts the query of a COPY TO: the one that is given, or one that reads the table, under the row security that
    /// applies.
    pub fn open_source(&self) -> Result<CopySource> {
        // SAFETY: see `new`; the relation is closed again on every way but an error that is raised.
        unsafe {
            let raw = make_node::<pg_sys::RawStmt>(pg_sys::NodeTag::T_RawStmt);
            (*raw).stmt_location = (*self.planned).stmt_location;
            (*raw).stmt_len = (*self.planned).stmt_len;
            let source = Source { text: (*self.state).p_sourcetext, environment: (*self.state).p_queryEnv };
            if (*self.copy).relation.is_null() {
                (*raw).stmt = (*self.copy).query;
                if (*(*raw).stmt).type_ == pg_sys::NodeTag::T_MergeStmt && !compat::MERGE_RETURNS_ROWS {
                    let message = "MERGE not supported in COPY";
                    return Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message));
                }
                return Ok(CopySource { relation: 0, query: StartedQuery::start(raw, source, None)? });
            }
            let (relation, item) = self.open_relation(pg_sys::AccessShareLock as i32, pg_sys::ACL_SELECT);
            let oid = (*relation).rd_id;
            let numbers = self.column_numbers(relation);
            compat::require_permission_on_columns(item, pg_sys::ACL_SELECT, &numbers);
            compat::check_permissions(self.state);
            let readable = refuse_to_read(relation);
            (*raw).stmt = select_from(relation, &numbers).cast();
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            readable?;
            Ok(CopySource { relation: oid.to_u32(), query: StartedQuery::start(raw, source, Some(oid))? })
        }
    }

    unsafe fn open_relation(&self, lock: i32, permission: u32) -> (pg_sys::Relation, *mut pg_sys::ParseNamespaceItem) {
        // SAFETY: see `new`; the statement names a relation.
        unsafe {
            let relation = pg_sys::table_openrv((*self.copy).relation, lock);
            let item =
                pg_sys::addRangeTableEntryForRelation(self.state, relation, lock, std::ptr::null_mut(), false, false);
            compat::require_permission(item, permission);
            (relation, item)
        }
    }

    /// Returns the columns that are listed, or all that COPY takes; raises an error for a wrong list.
    unsafe fn column_numbers(&self, relation: pg_sys::Relation) -> Vec<i32> {
        // SAFETY: the caller opened the relation; the list holds integers.
        unsafe {
            let numbers = pg_sys::CopyGetAttnums((*relation).rd_att, relation, (*self.copy).attlist);
            PgList::<()>::from_pg(numbers).iter_int().collect()
        }
    }

    unsafe fn plan_where(
        &self,
        relation: pg_sys::Relation,
        item: *mut pg_sys::ParseNamespaceItem,
    ) -> Result<Option<*mut pg_sys::List>> {
        // SAFETY: the caller opened the relation and made the item for it; as DoCopy does it.
        unsafe {
            if (*self.copy).whereClause.is_null() {
                return Ok(None);
            }
            pg_sys::addNSItemToQuery(self.state, item, false, true, true);
            let kind = pg_sys::ParseExprKind::EXPR_KIND_COPY_WHERE;
            let condition = pg_sys::transformExpr(self.state, (*self.copy).whereClause, kind);
            let condition = pg_sys::coerce_to_boolean(self.state, condition, c"WHERE".as_ptr());
            pg_sys::assign_expr_collations(self.state, condition);
            refuse_generated_columns(relation, condition)?;
            let condition = pg_sys::eval_const_expressions(std::ptr::null_mut(), condition);
            let condition = pg_sys::canonicalize_qual(condition.cast(), false);
            Ok(Some(pg_sys::make_ands_implicit(condition)))
        }
    }
}

/// Generated columns are computed after rows are filtered.
unsafe fn refuse_generated_columns(relation: pg_sys::Relation, condition: *mut pg_sys::Node) -> Result<()> {
    // SAFETY: the caller opened the relation, which the condition's columns are of.
    unsafe {
        let mut used = std::ptr::null_mut();
        pg_sys::pull_varattnos(condition, 1, &mut used);
        let attributes = relation::attributes((*relation).rd_att);
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(used, member);
            if member < 0 {
                return Ok(());
            }
            let number = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
            // A reference to the whole row is one to each column.
            let referenced = match number {
                0 => &attributes[..],
                1.. => &attributes[number as usize - 1..][..1],
                _ => &[],
            };
            if let Some(column) = referenced.iter().find(|column| column.generated && !column.dropped) {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE,
                    "generated columns are not supported in COPY FROM WHERE conditions",
                )
                .detail(format!("Column \"{}\" is a generated column.", column.name)));
            }
        }
    }
}

/// Returns an error in the words of CopyFrom.
unsafe fn refuse_to_fill(relation: pg_sys::Relation) -> Result<()> {
    // SAFETY: the caller opened the relation.
    let (kind, name, triggers) =
        unsafe { ((*(*relation).rd_rel).relkind as u8, name_of(relation), (*relation).trigdesc) };
    let what = match kind {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_FOREIGN_TABLE | pg_sys::RELKIND_PARTITIONED_TABLE => return Ok(()),
        // SAFETY: part of the open relation where it is not null.
        _ if !triggers.is_null() && unsafe { (*triggers).trig_insert_instead_row } => return Ok(()),
        pg_sys::RELKIND_VIEW => "view",
        pg_sys::RELKIND_MATVIEW => "materialized view",
        pg_sys::RELKIND_SEQUENCE => "sequence",
        _ => "non-table relation",
    };
    let error = Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, format!("cannot copy to {what} \"{name}\""));
    Err(if kind == pg_sys::RELKIND_VIEW {
        error.hint("To enable copying to a view, provide an INSTEAD OF INSERT trigger.")
    } else {
        error
    })
}

/// Returns an error in the words of BeginCopyTo.
unsafe fn refuse_to_read(relation: pg_sys::Relation) -> Result<()> {
    // SAFETY: the caller opened the relation.
    let (kind, populated, name) =
        unsafe { ((*(*relation).rd_rel).relkind as u8, (*(*relation).rd_rel).relispopulated, name_of(relation)) };
    let refuse = |sqlstate, what| Error::new(sqlstate, format!("cannot copy from {what} \"{name}\""));
    let wrong_kind = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
    let hint = "Try the COPY (SELECT ...) TO variant.";
    Err(match kind {
        pg_sys::RELKIND_RELATION => return Ok(()),
        pg_sys::RELKIND_MATVIEW if compat::COPY_READS_MATERIALIZED_VIEWS => {
            if populated {
                return Ok(());
            }
            refuse(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "unpopulated materialized view")
                .hint("Use the REFRESH MATERIALIZED VIEW command.")
        }
        pg_sys::RELKIND_VIEW => refuse(wrong_kind, "view").hint(hint),
        pg_sys::RELKIND_MATVIEW => refuse(wrong_kind, "materialized view").hint(hint),
        pg_sys::RELKIND_FOREIGN_TABLE => refuse(wrong_kind, "foreign table").hint(hint),
        pg_sys::RELKIND_PARTITIONED_TABLE => refuse(wrong_kind, "partitioned table").hint(hint),
        pg_sys::RELKIND_SEQUENCE => refuse(wrong_kind, "sequence"),
        _ => refuse(wrong_kind, "non-table relation"),
    })
}

/// Makes `SELECT columns FROM ONLY relation` as a raw parse tree, so that names need no quoting and no encoding.
unsafe fn select_from(relation: pg_sys::Relation, numbers: &[i32]) -> *mut pg_sys::SelectStmt {
    // SAFETY: the caller opened the relation; names are copied, so that nothing points into it.
    unsafe {
        let schema = pg_sys::get_namespace_name((*(*relation).rd_rel).relnamespace);
        let name = pg_sys::pstrdup((*(*relation).rd_rel).relname.data.as_ptr());
        let range = pg_sys::makeRangeVar(schema, name, -1);
        (*range).inh = false;
        let mut targets = std::ptr::null_mut();
        for number in numbers {
            let column: *const c_char = relation::attribute_name((*relation).rd_att, *number as usize - 1);
            let reference = make_node::<pg_sys::ColumnRef>(pg_sys::NodeTag::T_ColumnRef);
            (*reference).fields = one(pg_sys::makeString(pg_sys::pstrdup(column)));
            (*reference).location = -1;
            let target = make_node::<pg_sys::ResTarget>(pg_sys::NodeTag::T_ResTarget);
            (*target).val = reference.cast();
            (*target).location = -1;
            targets = pg_sys::lappend(targets, target.cast());
        }
        let select = make_node::<pg_sys::SelectStmt>(pg_sys::NodeTag::T_SelectStmt);
        (*select).targetList = targets;
        (*select).fromClause = one(range);
        select
    }
}

unsafe fn one<T>(node: *mut T) -> *mut pg_sys::List {
    // SAFETY: a list of one, made by the server.
    unsafe { pg_sys::lappend(std::ptr::null_mut(), node.cast()) }
}

/// Returns a file's name as UTF-8, for files that are not on this machine.
pub fn utf8_name(name: &[u8]) -> String {
    String::from_utf8_lossy(&encoding::to_utf8(name)).into_owned()
}
