//! The choice of the role that runs code where the tables of two owners meet.

/// A role that owns a table or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub role: u32,
    pub is_superuser: bool,
}

/// Chooses the role that runs the functions which compare the keys of two tables, given the owners of the functions and
/// those of the keys' types, whose functions comparing an array or a row may come to.
///
/// Code of one of the two tables' owners runs as that owner, so that neither's has the rights of the other. What somebody
/// else has written, the server's own functions included, runs as the owner of the referencing table, who chose it with
/// the constraint; never as a superuser where an ordinary role is among the owners.
///
/// `None` where functions of both tables' owners would have to run in one query.
pub fn comparing_role(referencing: Owner, referenced: Owner, functions: &[Owner], types: &[Owner]) -> Option<u32> {
    let author = |owners: &[Owner]| {
        let wrote = |owner: Owner| !owner.is_superuser && owners.contains(&owner);
        match (wrote(referencing), wrote(referenced)) {
            (true, true) if referencing != referenced => Err(()),
            (true, _) => Ok(Some(referencing.role)),
            (false, true) => Ok(Some(referenced.role)),
            (false, false) => Ok(None),
        }
    };
    let chosen = author(functions).ok()?.or_else(|| author(types).unwrap_or(None));
    let ordinary = |owner: &&Owner| !owner.is_superuser;
    let everybody = || [referencing, referenced].into_iter().chain(functions.iter().chain(types).copied());
    Some(chosen.unwrap_or_else(|| everybody().find(|owner| ordinary(&owner)).unwrap_or(referencing).role))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPERUSER: Owner = Owner { role: 10, is_superuser: true };
    const ALICE: Owner = Owner { role: 1, is_superuser: false };
    const BOB: Owner = Owner { role: 2, is_superuser: false };
    const CAROL: Owner = Owner { role: 3, is_superuser: false };

    #[test]
    fn functions_of_the_server_run_as_the_referencing_owner() {
        assert_eq!(comparing_role(ALICE, BOB, &[SUPERUSER], &[]), Some(ALICE.role));
        assert_eq!(comparing_role(ALICE, BOB, &[], &[]), Some(ALICE.role));
        assert_eq!(comparing_role(SUPERUSER, SUPERUSER, &[SUPERUSER], &[]), Some(SUPERUSER.role));
    }

    #[test]
    fn a_table_owners_functions_run_as_that_owner() {
        assert_eq!(comparing_role(ALICE, BOB, &[SUPERUSER, BOB], &[]), Some(BOB.role));
        assert_eq!(comparing_role(ALICE, BOB, &[ALICE, SUPERUSER], &[]), Some(ALICE.role));
        assert_eq!(comparing_role(ALICE, ALICE, &[ALICE], &[]), Some(ALICE.role));
        assert_eq!(comparing_role(ALICE, BOB, &[ALICE, BOB], &[]), None);
    }

    #[test]
    fn a_types_owner_counts_where_no_function_tells() {
        assert_eq!(comparing_role(ALICE, BOB, &[SUPERUSER], &[BOB, SUPERUSER]), Some(BOB.role));
        assert_eq!(comparing_role(ALICE, BOB, &[ALICE], &[BOB]), Some(ALICE.role));
        assert_eq!(comparing_role(ALICE, BOB, &[SUPERUSER], &[ALICE, BOB]), Some(ALICE.role));
        assert_eq!(comparing_role(SUPERUSER, SUPERUSER, &[SUPERUSER], &[CAROL]), Some(CAROL.role));
    }

    #[test]
    fn nothing_runs_as_a_superuser_where_an_ordinary_role_is_concerned() {
        assert_eq!(comparing_role(SUPERUSER, BOB, &[SUPERUSER], &[]), Some(BOB.role));
        assert_eq!(comparing_role(ALICE, SUPERUSER, &[SUPERUSER], &[]), Some(ALICE.role));
        assert_eq!(comparing_role(SUPERUSER, SUPERUSER, &[SUPERUSER, CAROL], &[]), Some(CAROL.role));
        assert_eq!(comparing_role(SUPERUSER, BOB, &[CAROL], &[]), Some(BOB.role));
    }
}
