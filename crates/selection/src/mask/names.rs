//! The names that people get.

pub(super) fn names_array(names: &str) -> String {
    format!("'{{{}}}'::pg_catalog.text[]", names.split_ascii_whitespace().collect::<Vec<_>>().join(","))
}

/// 64 of each: common in many countries, and nobody's in particular.
pub(super) const FIRST_NAMES: &str = "Ada Adam Aisha Alan Alma Amir Ana Andrei Anna Anton Ben Carla Carlos Chen Clara Daniel David Dora Elena Elif \
     Emil Emma Eva Farid Felix Fatima Grace Hana Hugo Ida Ines Ivan Jan Jana Jonas Julia Karim Kenji Lara Leo Lina Lucas Luis Mai Maria \
     Mark Marta Max Mei Milan Mina Nadia Nina Noah Nora Olga Omar Oscar Paul Petra Rosa Samir Sara Yuki";
pub(super) const LAST_NAMES: &str = "Adler Ahmed Baker Becker Berg Blanc Brown Carter Castro Chan Cohen Cook Costa Cruz Dahl Diaz Evans Farah \
     Fischer Ford Garcia Gomez Green Haas Hall Hansen Hill Holm Hughes Ito Jansen Jones Kaya Keller Khan Kim Klein Kovacs Larsen Lee Lopez \
     Martin Meyer Mills Moreau Mori Nagy Nilsen Novak Olsen Park Patel Perez Petrov Reid Rossi Sato Silva Smith Stone Tanaka Weber Wolf Young";
