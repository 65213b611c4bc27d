//! What is compared.

use xtask::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contender {
    Pgcopy,
    /// With this many workers.
    PgcopyParallel(i32),
    /// With this value of `compress`.
    PgcopyCompress(&'static str),
    /// Rows as they lie in the heap of a source that is trusted.
    PgcopyHeapForm,
    /// Through a tunnel of OpenSSH that compresses.
    PgcopyTunnel,
    PgcopyOneTable,
    /// The same table, as its rows lie in the heap.
    PgcopyHeapFormOneTable,
    /// A condition that every row meets.
    PgcopyWhere,
    /// Masks for four columns of lineitem.
    PgcopyMasked,
    /// A hundredth of the customers, and what belongs to them.
    PgcopySubset,
    /// The definitions, too.
    Migrate,
    /// It compares what it stored with the source.
    PgcopyVerified,
    /// No copy: both sides add up digests.
    VerifyDigest,
    /// The same, with ten changed rows, which are named.
    VerifyRows,
    Pgcopydb,
    DumpRestore,
    DumpReplace,
    DumpPipe,
    CopyFromFile,
    /// No copy: how fast the source gives the rows of one table away.
    SourceAlone,
}

impl Contender {
    pub fn name(self) -> String {
        match self {
            Self::Pgcopy => "pgcopy".into(),
            Self::PgcopyParallel(workers) => format!("pgcopy-{workers}"),
            Self::PgcopyCompress(codec) => format!("pgcopy-{codec}"),
            Self::PgcopyHeapForm => "pgcopy-heap-form".into(),
            Self::PgcopyTunnel => "pgcopy-ssh-c".into(),
            Self::PgcopyOneTable => "pgcopy-one-table".into(),
            Self::PgcopyHeapFormOneTable => "pgcopy-heap-form-one-table".into(),
            Self::PgcopyWhere => "pgcopy-where".into(),
            Self::PgcopyMasked => "pgcopy-masked".into(),
            Self::PgcopySubset => "pgcopy-subset".into(),
            Self::Migrate => "migrate".into(),
            Self::PgcopyVerified => "pgcopy-verified".into(),
            Self::VerifyDigest => "verify-digest".into(),
            Self::VerifyRows => "verify-rows".into(),
            Self::Pgcopydb => "pgcopydb".into(),
            Self::DumpRestore => "dump-restore".into(),
            Self::DumpReplace => "dump-replace".into(),
            Self::DumpPipe => "dump-pipe".into(),
            Self::CopyFromFile => "copy-from-file".into(),
            Self::SourceAlone => "source-alone".into(),
        }
    }

    pub fn description(self) -> String {
        match self {
            Self::Pgcopy => "pull(…, overwrite => true) into full tables".into(),
            Self::PgcopyParallel(workers) => {
                format!("pull(…, overwrite => true, parallel => {workers}) into full tables")
            }
            Self::PgcopyCompress(codec) => {
                format!("pull(…, overwrite => true, compress => '{codec}') into full tables")
            }
            Self::PgcopyHeapForm => "pull(…, overwrite => true, trust_source => true) into full tables".into(),
            Self::PgcopyTunnel => {
                "pull(…, overwrite => true, compress => 'none') into full tables, through ssh -C".into()
            }
            Self::PgcopyOneTable => "pull(…, include => '{lineitem}', overwrite => true) into a full table".into(),
            Self::PgcopyHeapFormOneTable => "the same with trust_source => true".into(),
            Self::PgcopyWhere | Self::PgcopyMasked | Self::PgcopySubset => {
                format!("pull(…, overwrite => true, tables => '{}')", self.part_of_the_data().unwrap_or_default())
            }
            Self::Migrate => "migrate(…) into an empty database".into(),
            Self::PgcopyVerified => "pull(…, overwrite => true, verify => true) into full tables".into(),
            Self::VerifyDigest => "verify(…) of equal tables".into(),
            Self::VerifyRows => "verify(…, level => 'rows') with ten changed rows of lineitem".into(),
            Self::Pgcopydb => "pgcopydb clone, 4 table and 4 index jobs, into an empty database".into(),
            Self::DumpRestore => "pg_dump -Fd -j2, pg_restore -j2 into an empty database".into(),
            Self::DumpReplace => "TRUNCATE, pg_dump -a -Fd -j2, pg_restore -a -j2 --disable-triggers".into(),
            Self::DumpPipe => "pg_dump -Fc -Z0 | pg_restore into an empty database".into(),
            Self::CopyFromFile => "COPY lineitem FROM a file on the server (FORMAT binary) into an empty table".into(),
            Self::SourceAlone => "both halves of lineitem to a psql each that throws them away, nothing written".into(),
        }
    }

    /// The contender of ours that does the same work.
    pub fn ours(self) -> Self {
        match self {
            Self::PgcopyParallel(_) => Self::PgcopyParallel(1),
            Self::Migrate => Self::Migrate,
            Self::PgcopyOneTable | Self::PgcopyHeapFormOneTable | Self::CopyFromFile | Self::SourceAlone => {
                Self::PgcopyOneTable
            }
            _ => Self::Pgcopy,
        }
    }

    pub fn is_pgcopy(self) -> bool {
        matches!(
            self,
            Self::Pgcopy
                | Self::PgcopyParallel(_)
                | Self::PgcopyCompress(_)
                | Self::PgcopyHeapForm
                | Self::PgcopyTunnel
                | Self::PgcopyOneTable
                | Self::PgcopyHeapFormOneTable
                | Self::PgcopyWhere
                | Self::PgcopyMasked
                | Self::PgcopySubset
                | Self::PgcopyVerified
                | Self::Migrate
        )
    }

    /// A program that creates the tables itself.
    pub fn needs_empty_database(self) -> bool {
        matches!(self, Self::Migrate | Self::Pgcopydb | Self::DumpRestore | Self::DumpPipe)
    }

    /// Whether it leaves anything at all.
    pub fn fills_a_database(self) -> bool {
        self != Self::SourceAlone
    }

    /// Whether it leaves the rows of the source to verify, all of them and as they are there.
    pub fn leaves_the_sources_rows(self) -> bool {
        self.fills_a_database() && !matches!(self, Self::PgcopyMasked | Self::PgcopySubset)
    }

    /// The argument `tables` of the pull.
    pub fn part_of_the_data(self) -> Option<&'static str> {
        match self {
            Self::PgcopyWhere => Some(r#"{"*": {"where": "true"}}"#),
            Self::PgcopyMasked => Some(
                r#"{"lineitem": {"columns": {"l_comment": {"mask": "text"}, "l_shipinstruct": {"mask": "text"},
                    "l_extendedprice": {"mask": "number"}, "l_shipdate": {"mask": "date"}}}}"#,
            ),
            Self::PgcopySubset => Some(r#"{"customer": {"sample": 0.01}}"#),
            _ => None,
        }
    }

    pub fn takes_heap_form(self) -> bool {
        matches!(self, Self::PgcopyHeapForm | Self::PgcopyHeapFormOneTable)
    }

    /// One table without its keys and indexes, instead of all with them.
    pub fn is_about_lineitem(self) -> bool {
        self.ours() == Self::PgcopyOneTable
    }

    /// The destination's database that it fills.
    pub fn database(self) -> String {
        match self {
            Self::PgcopyParallel(_)
            | Self::PgcopyCompress(_)
            | Self::PgcopyHeapForm
            | Self::PgcopyWhere
            | Self::PgcopyTunnel
            | Self::PgcopyVerified
            | Self::VerifyDigest
            | Self::VerifyRows => Self::Pgcopy.database(),
            Self::PgcopyHeapFormOneTable => Self::PgcopyOneTable.database(),
            _ => format!("bench_{}", self.name().replace('-', "_")),
        }
    }

    /// Those asked for, all if none is, with the one of ours that each is compared with.
    pub fn choose(known: &[Self], only: &[String]) -> Vec<Self> {
        if known.contains(&Self::Migrate) {
            // Where everything is made anew, it is the one of ours.
            let chosen = |other: &Self| *other == Self::Migrate || only.is_empty() || only.contains(&other.name());
            return known.iter().copied().filter(chosen).collect();
        }
        let asked_for = |contender: &Self| only.is_empty() || only.contains(&contender.name());
        let needed = |ours: Self| known.iter().any(|other| other.ours() == ours && asked_for(other));
        let chosen = |contender: &Self| *contender == Self::Pgcopy || asked_for(contender) || needed(*contender);
        known.iter().copied().filter(chosen).collect()
    }

    pub fn refuse_unknown(known: &[Self], only: &[String]) -> Result<()> {
        let names: Vec<String> = known.iter().map(|contender| contender.name()).collect();
        match only.iter().find(|name| !names.contains(name)) {
            Some(unknown) => Err(format!("there is no contender {unknown} here, only {}", names.join(", ")).into()),
            None => Ok(()),
        }
    }
}
