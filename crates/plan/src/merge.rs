//! The statements that merge staged rows into a table, and the order of the tables.

use crate::quote_identifier;

/// A column that staged rows have values for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeColumn {
    pub name: String,
    /// Whether rows that are there can get another value: not where it is always the database that gives one, and not where
    /// rows with equal keys have the same bytes anyway.
    pub is_updated: bool,
}

/// A column of the key that tells rows apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeKeyColumn {
    pub name: String,
    /// `OPERATOR(schema.name)` with which the index compares.
    pub operator: String,
    /// The schema-qualified, quoted collation of the index, where it is not that of the column.
    pub collation: Option<String>,
    /// Whether it can be NULL.
    pub is_nullable: bool,
}

/// A table and the staged rows that are merged into it.
#[derive(Debug, Clone, Copy)]
pub struct MergeTable<'a> {
    /// Schema-qualified and quoted, as the next one.
    pub target: &'a str,
    pub stage: &'a str,
    pub is_partitioned: bool,
    pub columns: &'a [MergeColumn],
    pub key: &'a [MergeKeyColumn],
    /// Whether `ON CONFLICT` can go by the key: not where a deferrable index is over the same columns.
    pub can_be_arbiter: bool,
    /// The condition of the rows that were staged.
    pub filter: Option<&'a str>,
}

impl MergeTable<'_> {
    /// Tables that inherit from the target are others.
    fn only(&self) -> &'static str {
        if self.is_partitioned { "" } else { "ONLY " }
    }

    /// Returns the columns in parentheses, and their values; nothing for staged rows without columns.
    fn inserted(&self) -> (String, String) {
        let names: Vec<String> = self.columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let values: Vec<String> = names.iter().map(|name| format!("s.{name}")).collect();
        let list = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        (list, values.join(", "))
    }

    fn same_key(&self) -> String {
        let pairs: Vec<String> = self
            .key
            .iter()
            .map(|column| {
                let name = quote_identifier(&column.name);
                let collated = |side: &str| match &column.collation {
                    Some(collation) => format!("({side}.{name} COLLATE {collation})"),
                    None => format!("{side}.{name}"),
                };
                format!("{} {} {}", collated("t"), column.operator, collated("s"))
            })
            .collect();
        pairs.join(" AND ")
    }

    /// Returns the statement that adds all staged rows.
    pub fn append(&self) -> String {
        let (names, values) = self.inserted();
        let Self { target, stage, .. } = self;
        format!("INSERT INTO {target}{names} OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage} AS s")
    }

    /// Returns the statement that adds the staged rows whose keys the table does not have. Somebody may add the same key
    /// meanwhile, which is an error where `ON CONFLICT` cannot go by it.
    pub fn insert_missing(&self) -> String {
        if !self.can_be_arbiter {
            return format!("{} WHERE {}", self.append(), self.is_missing());
        }
        let key: Vec<String> = self.key.iter().map(|column| quote_identifier(&column.name)).collect();
        format!("{} WHERE {} ON CONFLICT ({}) DO NOTHING", self.append(), self.is_missing(), key.join(", "))
    }

    /// Returns the statement that adds those rows, and gives the others' values to rows whose bytes differ.
    pub fn upsert(&self) -> String {
        let (names, values) = self.inserted();
        let update = self.when_matched().unwrap_or_default();
        format!(
            "{}{update} WHEN NOT MATCHED THEN INSERT{names} OVERRIDING SYSTEM VALUE VALUES ({values})",
            self.matching()
        )
    }

    /// Returns the statement that gives staged values to rows whose bytes differ, if there are columns that are updated.
    pub fn update(&self) -> Option<String> {
        Some(format!("{}{}", self.matching(), self.when_matched()?))
    }

    fn matching(&self) -> String {
        format!("MERGE INTO {}{} AS t USING {} AS s ON {}", self.only(), self.target, self.stage, self.same_key())
    }

    fn when_matched(&self) -> Option<String> {
        let updated: Vec<String> =
            self.columns.iter().filter(|it| it.is_updated).map(|it| quote_identifier(&it.name)).collect();
        if updated.is_empty() {
            return None;
        }
        let of = |side: &str| {
            let values: Vec<String> = updated.iter().map(|name| format!("{side}.{name}")).collect();
            format!("ROW({})", values.join(", "))
        };
        let set: Vec<String> = updated.iter().map(|name| format!("{name} = s.{name}")).collect();
        // Not every type can be compared by its own operators, and those that can may call different bytes equal.
        Some(format!(
            " WHEN MATCHED AND pg_catalog.record_image_ne({}, {}) THEN UPDATE SET {}",
            of("t"),
            of("s"),
            set.join(", ")
        ))
    }

    /// Returns the statement that removes the rows whose keys are not staged, and that would have been staged.
    pub fn delete(&self) -> String {
        let filter = self.filter.map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        format!(
            "DELETE FROM {}{} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {}){filter}",
            self.only(),
            self.target,
            self.stage,
            self.same_key()
        )
    }

    fn is_missing(&self) -> String {
        format!("NOT EXISTS (SELECT FROM {}{} AS t WHERE {})", self.only(), self.target, self.same_key())
    }

    /// Returns the query for the number of staged rows whose keys the table does not have.
    pub fn count_missing(&self) -> String {
        format!("SELECT pg_catalog.count(*)::pg_catalog.text FROM {} AS s WHERE {}", self.stage, self.is_missing())
    }

    /// Returns the query for a staged row without a value in the key, if there can be one.
    pub fn find_null_key(&self) -> Option<String> {
        let nulls: Vec<String> = self
            .key
            .iter()
            .filter(|column| column.is_nullable)
            // IS NULL would ask for all attributes of a composite value.
            .map(|column| format!("s.{} IS NOT DISTINCT FROM NULL", quote_identifier(&column.name)))
            .collect();
        (!nulls.is_empty())
            .then(|| format!("SELECT 'found' FROM {} AS s WHERE {} LIMIT 1", self.stage, nulls.join(" OR ")))
    }
}

/// A foreign key between two of the tables, by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeReference {
    pub referencing: usize,
    pub referenced: usize,
    /// Whether its check can wait for the other rows.
    pub deferrable: bool,
}

/// The order in which tables get their rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeOrder {
    /// Positions of the tables, referenced ones first.
    pub tables: Vec<usize>,
    /// Positions of the foreign keys whose checks must wait.
    pub deferred: Vec<usize>,
}

/// Orders tables so that each row finds the rows that it references. A table that references itself gets all rows at once.
///
/// # Errors
/// Positions of foreign keys that make a circle and cannot wait.
pub fn merge_order(tables: usize, references: &[MergeReference]) -> Result<MergeOrder, Vec<usize>> {
    let others: Vec<usize> = (0..references.len())
        .filter(|&position| references[position].referencing != references[position].referenced)
        .collect();
    let (order, circular) = ordered(tables, references, &others);
    if circular.is_empty() {
        return Ok(MergeOrder { tables: order, deferred: Vec::new() });
    }
    let deferred: Vec<usize> = circular.into_iter().filter(|&position| references[position].deferrable).collect();
    let kept: Vec<usize> = others.into_iter().filter(|position| !deferred.contains(position)).collect();
    let (tables, stuck) = ordered(tables, references, &kept);
    if stuck.is_empty() { Ok(MergeOrder { tables, deferred }) } else { Err(stuck) }
}

/// Returns the tables as far as they can be ordered, and those of the references that are part of a circle, or lie between two.
fn ordered(tables: usize, references: &[MergeReference], meant: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order = Vec::with_capacity(tables);
    let mut waits_for = vec![Vec::new(); tables];
    for &position in meant {
        waits_for[references[position].referencing].push(references[position].referenced);
    }
    let mut is_placed = vec![false; tables];
    loop {
        let next =
            (0..tables).find(|&table| !is_placed[table] && waits_for[table].iter().all(|&other| is_placed[other]));
        let Some(table) = next else { break };
        is_placed[table] = true;
        order.push(table);
    }
    // Tables that nobody in a circle waits for are no part of one.
    let mut is_left: Vec<bool> = is_placed.iter().map(|placed| !placed).collect();
    loop {
        let is_wanted = |table: usize| {
            meant.iter().any(|&position| {
                let reference = references[position];
                reference.referenced == table && is_left[reference.referencing]
            })
        };
        let Some(table) = (0..tables).find(|&table| is_left[table] && !is_wanted(table)) else { break };
        is_left[table] = false;
    }
    let is_circular =
        |position: &usize| is_left[references[*position].referencing] && is_left[references[*position].referenced];
    (order, meant.iter().copied().filter(is_circular).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(referencing: usize, referenced: usize, deferrable: bool) -> MergeReference {
        MergeReference { referencing, referenced, deferrable }
    }

    #[test]
    fn referenced_tables_come_first() {
        let order = merge_order(4, &[reference(0, 3, false), reference(3, 2, false), reference(1, 1, false)]).unwrap();
        assert_eq!(order, MergeOrder { tables: vec![1, 2, 3, 0], deferred: Vec::new() });
    }

    #[test]
    fn a_circle_needs_a_key_that_can_wait() {
        let firm = [reference(0, 1, false), reference(1, 0, false), reference(2, 0, false), reference(1, 3, false)];
        assert_eq!(merge_order(4, &firm), Err(vec![0, 1]));
        let mut one_waits = firm;
        one_waits[1].deferrable = true;
        let order = merge_order(4, &one_waits).unwrap();
        assert_eq!(order, MergeOrder { tables: vec![3, 1, 0, 2], deferred: vec![1] });
    }

    #[test]
    fn statements() {
        let columns =
            [("id", false), ("Name", true)].map(|(name, is_updated)| MergeColumn { name: name.into(), is_updated });
        let key = [MergeKeyColumn {
            name: "id".into(),
            operator: "OPERATOR(pg_catalog.=)".into(),
            collation: None,
            is_nullable: false,
        }];
        let table = MergeTable {
            target: "a.t",
            stage: "p.s",
            is_partitioned: false,
            columns: &columns,
            key: &key,
            can_be_arbiter: true,
            filter: None,
        };
        assert_eq!(
            table.upsert(),
            "MERGE INTO ONLY a.t AS t USING p.s AS s ON t.id OPERATOR(pg_catalog.=) s.id \
             WHEN MATCHED AND pg_catalog.record_image_ne(ROW(t.\"Name\"), ROW(s.\"Name\")) THEN UPDATE SET \"Name\" = s.\"Name\" \
             WHEN NOT MATCHED THEN INSERT (id, \"Name\") OVERRIDING SYSTEM VALUE VALUES (s.id, s.\"Name\")"
        );
        assert!(table.update().unwrap().ends_with("THEN UPDATE SET \"Name\" = s.\"Name\""));
        assert_eq!(MergeTable { columns: &columns[..1], ..table }.update(), None);
        assert_eq!(table.find_null_key(), None);
        assert!(table.insert_missing().ends_with("ON CONFLICT (id) DO NOTHING"));
        assert!(!MergeTable { can_be_arbiter: false, ..table }.insert_missing().contains("CONFLICT"));
        assert!(
            table.delete().starts_with("DELETE FROM ONLY a.t AS t WHERE NOT EXISTS (SELECT FROM p.s AS s WHERE t.id")
        );
        let part = MergeTable { filter: Some("id > 5 OR id IS NULL"), ..table };
        assert!(part.delete().ends_with("t.id OPERATOR(pg_catalog.=) s.id) AND (id > 5 OR id IS NULL)"));
    }
}
