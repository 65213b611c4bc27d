#![forbid(unsafe_code)]
//! The argument `tables` of a pull: which rows and columns are taken of each table of the source, and where they go.
//!
//! A JSON object becomes a [`Selection`]; what its entries say of one table, the more exact ones before the others, becomes a
//! [`Choice`]. Expressions are taken apart here, so that each stays one expression wherever it is put.

mod decimal;
mod document;
mod entries;
mod expression;
mod mask;
mod merge;

pub use document::{DocumentError, parse_document};
pub use entries::{ColumnChoice, Content, Entry, Reference, Selection, SelectionError, TargetName};
pub use expression::{Expression, ExpressionError, Name, NameUse, names_in, qualified_names_in};
pub use mask::{KEY_SETTING, Mask, MaskedColumn};
pub use merge::{Choice, ChosenColumn, Contradiction, Given};
