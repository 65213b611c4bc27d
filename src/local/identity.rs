//! The role that the current code runs as.

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// The identity of the caller, with all parts that a background process must take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The role that logged in. A process's session belongs to it, because `current` may be a role that cannot log in.
    pub authenticated: u32,
    /// The role of the session, which `SET SESSION AUTHORIZATION` changes.
    session: u32,
    /// The role that `SET ROLE` has set, apart from SECURITY DEFINER functions.
    outer: u32,
    pub current: u32,
    /// The security context: restrictions of the current code, such as not to change its role within a function of
    /// another role.
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

/// The role that a piece of work runs as.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// The bootstrap superuser, for fixed statements on the catalogs and our own tables only.
    Extension,
    /// A table's owner, under the restrictions that core puts on functions which belong to a table.
    TableOwner(u32),
}

/// Runs `work` as another role. The former role is restored on return, or after an ERROR by the end of the
/// (sub)transaction.
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

/// Runs work that may not become somebody else, as code in a SECURITY DEFINER function may not. A session that has put rights
/// down with SET ROLE does not take them up again in it. Settings that the work makes do not outlive it.
pub fn with_role_kept<T>(work: impl FnOnce() -> T) -> T {
    let mut user = pg_sys::Oid::INVALID;
    let mut context = 0;
    // SAFETY: as for `run_as`.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(user, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
        let nest_level = pg_sys::NewGUCNestLevel();
        let value = work();
        pg_sys::AtEOXact_GUC(false, nest_level);
        pg_sys::SetUserIdAndSecContext(user, context);
        value
    }
}

/// Returns whether the current user is not the one who logged in, or code of another role runs.
pub fn has_put_rights_down() -> bool {
    let caller = Caller::of_this_session();
    caller.security_context != 0 || caller.current != caller.authenticated || caller.session != caller.authenticated
}

/// A bit of the security context that the server does not use. Like the server's own bits, it is inherited by every
/// function that is called, and removed when the context is restored, also after an ERROR.
const DEFINITIONS_ARE_KEPT: i32 = 1 << 20;

/// Runs work that relies on the definitions of tables whose code it runs. That code runs in the process, or the lock
/// group, that holds the tables' locks, so that only [`may_change_definitions`] keeps it from changing the definitions.
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

/// Returns whether the current code may execute statements that change definitions. Code of a table may not while work
/// relies on them.
pub fn may_change_definitions() -> bool {
    let mut user = pg_sys::Oid::INVALID;
    let mut context = 0;
    // SAFETY: reads backend-local variables.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut context) };
    let code_of_table = DEFINITIONS_ARE_KEPT | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
    context & code_of_table != code_of_table
}

/// Returns the name of the current role.
pub fn current_role_name() -> String {
    role_name(Caller::of_this_session().current)
}

/// Returns the name of a role, for messages.
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

/// Gives this process, in the transaction that it has begun, the identity of the caller. Code that runs as the caller
/// can take no role that it could not take in the caller's session.
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

/// Ends the effect of [`become_caller`] when its transaction was committed: no security context outlasts a transaction.
pub fn leave_caller() {
    // SAFETY: as at the end of every function with rights of its own.
    unsafe { pg_sys::SetUserIdAndSecContext(pg_sys::GetOuterUserId(), 0) }
}

/// Returns the role for code that belongs to a table, in a command of the caller's that writes to the table: the
/// table's owner under restrictions, unless the session has that role anyway. `None` stands for the caller, who lacks
/// the owner's rights, so that the owner's code must not be run with them.
pub fn code_of_table(owner: u32) -> Option<Role> {
    let caller = Caller::of_this_session();
    let all_owner =
        [caller.authenticated, caller.session, caller.outer, caller.current].iter().all(|&role| role == owner);
    // SAFETY: syscache look-ups inside a transaction.
    let has_rights = unsafe { pg_sys::has_privs_of_role(caller.current.into(), owner.into()) };
    (has_rights && !all_owner).then_some(Role::TableOwner(owner))
}

/// Runs code of the server without restrictions, which would forbid it. The code must not call functions of users.
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
