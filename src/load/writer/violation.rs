//! The errors of rows that violate a constraint, worded as the server words them.

use super::TableWriter;
use crate::error::Error;
use crate::local::relation;
use pgrx::pg_sys;
use pgrx::prelude::*;

impl<D> TableWriter<'_, D> {
    #[cold]
    pub(super) fn null_violation(&mut self, attribute: usize) -> Error {
        // SAFETY: the descriptor belongs to the open relation.
        let attributes = unsafe { relation::attributes((*self.relation).rd_att) };
        Error::new(
            PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
            format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                attributes[attribute].name, self.table.name
            ),
        )
        .of_table(&self.table.schema, &self.table.name)
        .of_column(&attributes[attribute].name)
        .detail(self.describe_row())
    }

    #[cold]
    pub(super) fn check_violation(&mut self, constraint: &str) -> Error {
        Error::new(
            PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
            format!("new row for relation \"{}\" violates check constraint \"{constraint}\"", self.table.name),
        )
        .of_table(&self.table.schema, &self.table.name)
        .of_constraint(constraint)
        .detail(self.describe_row())
    }

    #[cold]
    pub(super) fn partition_violation(&mut self) -> Error {
        Error::new(
            PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
            format!("new row for relation \"{}\" violates partition constraint", self.table.name),
        )
        .of_table(&self.table.schema, &self.table.name)
        .detail(self.describe_row())
    }

    /// Describes the row that is being stored, as core words it.
    fn describe_row(&mut self) -> String {
        const LONGEST_VALUE: usize = 64;
        // SAFETY: the descriptor belongs to the open relation.
        let (descriptor, attributes) = unsafe {
            let descriptor = (*self.relation).rd_att;
            (descriptor, relation::attributes(descriptor))
        };
        let mut datums = vec![pg_sys::Datum::from(0usize); attributes.len()];
        let mut nulls = vec![true; attributes.len()];
        match &self.checked {
            Some(checked) if self.by_server.is_some() => {
                for number in 0..attributes.len() {
                    // SAFETY: the slot's arrays have one element for each attribute.
                    unsafe {
                        datums[number] = *(*checked.slot).tts_values.add(number);
                        nulls[number] = *(*checked.slot).tts_isnull.add(number);
                    }
                }
            }
            _ => {
                let row = self.builder.finish();
                let mut tuple = pg_sys::HeapTupleData {
                    t_len: row.len() as u32,
                    t_data: row.as_mut_ptr().cast(),
                    ..Default::default()
                };
                // SAFETY: a whole tuple of this descriptor's layout, and arrays of its length.
                unsafe { pg_sys::heap_deform_tuple(&mut tuple, descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr()) };
            }
        }
        let mut values = Vec::new();
        for (number, description) in attributes.iter().enumerate().filter(|(_, description)| !description.dropped) {
            values.push(if nulls[number] {
                "null".to_owned()
            } else {
                // SAFETY: the value is that of the column.
                let mut text = unsafe { relation::output_text(description.type_oid, datums[number]) };
                if text.len() > LONGEST_VALUE {
                    text.truncate(text.floor_char_boundary(LONGEST_VALUE));
                    text.push_str("...");
                }
                text
            });
        }
        format!("Failing row contains ({}).", values.join(", "))
    }
}
