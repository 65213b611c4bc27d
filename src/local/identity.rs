//! Who the current code runs as.

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// The caller, as a background process must become it: all that a session knows of who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who logged in: a process's session belongs to it, because `current` may be a role that cannot log in.
    pub authenticated: u32,
    /// Who `SET SESSION AUTHORIZATION` has made the session's.
    session: u32,
    /// Who `SET ROLE` has made the current one, functions of others aside.
    outer: u32,
    pub current: u32,
    /// What the current code may not do, such as change its role within a function of another's.
    security_context: i32,
}

impl Caller {
    pub fn of_this_session() -> Self {
        let mut current = pg_sys::Oid::INVALID;
        let mut security_context = 0;
        // SAFETY: all read backend-local variables that are set for the whole life of a session.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut current, &mut security_context);
            Self {
                authenticated: pg_sys::GetAuthenticatedUserId().to_u32(),
                session: pg_sys::GetSessionUserId().to_u32(),
                outer: pg_sys::GetOuterUserId().to_u32(),
                current: current.to_u32(),
                security_context,
            }
        }
    }

    pub fn is_superuser(self) -> bool {
        is_superuser(self.current)
    }
}

pub fn is_superuser(role: u32) -> bool {
    // SAFETY: a syscache lookup inside a transaction.
    unsafe { pg_sys::superuser_arg(role.into()) }
}

/// Whom a piece of work runs as.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// The bootstrap superuser, for fixed statements on our own tables only.
    Extension,
    /// A table's owner, under the restrictions that core puts on functions which belong to a table.
    TableOwner(u32),
}

/// Runs `work` as another role. The old one comes back on return; on an ERROR the end of the (sub)transaction, which
/// every ERROR leads to, restores it.
pub fn run_as<T>(role: Role, work: impl FnOnce() -> T) -> T {
    let (user, flags) = match role {
        Role::Extension => (pg_sys::BOOTSTRAP_SUPERUSERID, pg_sys::SECURITY_LOCAL_USERID_CHANGE),
        Role::TableOwner(owner) => (owner, pg_sys::SECURITY_RESTRICTED_OPERATION),
    };
    let mut saved_user = pg_sys::Oid::INVALID;
    let mut saved_context = 0;
    // SAFETY: the pair is what core uses for the same purpose (see index_build); both touch backend-local state only.
    // A GUC nest level keeps settings that `work` makes from outliving it, as core does for maintenance commands.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut saved_user, &mut saved_context);
        pg_sys::SetUserIdAndSecContext(user.into(), saved_context | flags as i32);
        let nest_level = pg_sys::NewGUCNestLevel();
        let value = work();
        pg_sys::AtEOXact_GUC(false, nest_level);
        pg_sys::SetUserIdAndSecContext(saved_user, saved_context);
        value
    }
}

/// A bit of the security context that the server leaves to others. Like its own bits it is handed on to every function
/// that is called, and taken back where the context is, also after an ERROR.
const DEFINITIONS_ARE_KEPT: i32 = 1 << 20;

/// Runs work that relies on the definitions of tables whose code it runs. That code is in the process, or the lock group,
/// that holds the tables' locks: nothing but the answer of [`may_change_definitions`] keeps it from changing them.
pub fn with_definitions_kept<T>(work: impl FnOnce() -> T) -> T {
    let mut user = pg_sys::Oid::INVALID;
    let mut context = 0;
    // SAFETY: as for `run_as`.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(user, context | DEFINITIONS_ARE_KEPT);
        let value = work();
        pg_sys::SetUserIdAndSecContext(user, context);
        value
    }
}

/// Whether the current code may execute statements that change definitions: not where it belongs to a table and work goes on
/// that relies on them.
pub fn may_change_definitions() -> bool {
    let mut user = pg_sys::Oid::INVALID;
    let mut context = 0;
    // SAFETY: reads backend-local variables.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut context) };
    let code_of_table = DEFINITIONS_ARE_KEPT | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
    context & code_of_table != code_of_table
}

/// The name of a role, for messages.
pub fn role_name(role: u32) -> String {
    // SAFETY: a syscache lookup; the result is palloc'd in the current context, or null for a missing role.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role.into(), true);
        if name.is_null() {
            role.to_string()
        } else {
            crate::local::encoding::from_database(std::ffi::CStr::from_ptr(name))
        }
    }
}

/// Makes this process, in the transaction that it has begun, be who the caller was. Code that runs as the caller can
/// become nobody that it could not become in the caller's session.
pub fn become_caller(caller: Caller) {
    // SAFETY: in the order of ParallelWorkerMain; the process is one of ours, and logged in as the caller was. The roles
    // were the session's when the caller called, so that nobody is asked whether they may be taken.
    unsafe {
        pg_sys::SetSessionAuthorization(caller.session.into(), is_superuser(caller.session));
        if caller.outer != caller.session {
            pg_sys::SetCurrentRoleId(caller.outer.into(), is_superuser(caller.outer));
        }
        pg_sys::SetUserIdAndSecContext(caller.current.into(), caller.security_context);
    }
}

/// Ends what [`become_caller`] has begun, when its transaction was committed: no security context outlasts a transaction.
pub fn leave_caller() {
    // SAFETY: as at the end of every function with rights of its own.
    unsafe { pg_sys::SetUserIdAndSecContext(pg_sys::GetOuterUserId(), 0) }
}

/// Whom code that belongs to a table runs as in a command of the caller's that writes to it: as the table's owner under
/// restrictions, unless that is what the session is anyway. `None` where it runs as the caller, who lacks the owner's
/// rights and whom the owner's code must not be run for with them.
pub fn code_of_table(owner: u32) -> Option<Role> {
    let caller = Caller::of_this_session();
    let all_owner =
        [caller.authenticated, caller.session, caller.outer, caller.current].iter().all(|&role| role == owner);
    // SAFETY: syscache look-ups inside a transaction.
    let has_rights = unsafe { pg_sys::has_privs_of_role(caller.current.into(), owner.into()) };
    (has_rights && !all_owner).then_some(Role::TableOwner(owner))
}

/// Runs code of the server's own that restrictions would stand in the way of. It must not run anybody's functions.
pub fn without_restrictions<T>(work: impl FnOnce() -> T) -> T {
    let mut user = pg_sys::Oid::INVALID;
    let mut context = 0;
    // SAFETY: as for `run_as`.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let restricted = pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
        let other = if context & restricted == 0 { 0 } else { pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32 };
        pg_sys::SetUserIdAndSecContext(user, context & !restricted | other);
        let value = work();
        pg_sys::SetUserIdAndSecContext(user, context);
        value
    }
}
