//! The names that people and streets get.

/// 64 of each: common in many countries, and nobody's in particular.
pub const FIRST_NAMES: [&str; 64] = [
    "Ada", "Adam", "Aisha", "Alan", "Alma", "Amir", "Ana", "Andrei", "Anna", "Anton", "Ben", "Carla", "Carlos", "Chen",
    "Clara", "Daniel", "David", "Dora", "Elena", "Elif", "Emil", "Emma", "Eva", "Farid", "Felix", "Fatima", "Grace",
    "Hana", "Hugo", "Ida", "Ines", "Ivan", "Jan", "Jana", "Jonas", "Julia", "Karim", "Kenji", "Lara", "Leo", "Lina",
    "Lucas", "Luis", "Mai", "Maria", "Mark", "Marta", "Max", "Mei", "Milan", "Mina", "Nadia", "Nina", "Noah", "Nora",
    "Olga", "Omar", "Oscar", "Paul", "Petra", "Rosa", "Samir", "Sara", "Yuki",
];

pub const LAST_NAMES: [&str; 64] = [
    "Adler", "Ahmed", "Baker", "Becker", "Berg", "Blanc", "Brown", "Carter", "Castro", "Chan", "Cohen", "Cook",
    "Costa", "Cruz", "Dahl", "Diaz", "Evans", "Farah", "Fischer", "Ford", "Garcia", "Gomez", "Green", "Haas", "Hall",
    "Hansen", "Hill", "Holm", "Hughes", "Ito", "Jansen", "Jones", "Kaya", "Keller", "Khan", "Kim", "Klein", "Kovacs",
    "Larsen", "Lee", "Lopez", "Martin", "Meyer", "Mills", "Moreau", "Mori", "Nagy", "Nilsen", "Novak", "Olsen", "Park",
    "Patel", "Perez", "Petrov", "Reid", "Rossi", "Sato", "Silva", "Smith", "Stone", "Tanaka", "Weber", "Wolf", "Young",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_words_of_ascii() {
        for names in [FIRST_NAMES, LAST_NAMES] {
            let different: std::collections::BTreeSet<&str> = names.into_iter().collect();
            assert_eq!(different.len(), names.len());
            assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphabetic())));
        }
    }
}
