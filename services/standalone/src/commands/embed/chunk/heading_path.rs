//! The headings that a place in a text stands under.

/// Between two headings of a path.
const STEP: &str = " > ";

/// The open headings, outermost first.
#[derive(Debug, Default)]
pub(super) struct HeadingPath(Vec<(u8, String)>);

impl HeadingPath {
    /// Ends the headings that one of `level` does not stand under.
    pub fn leave(&mut self, level: u8) {
        while self.0.last().is_some_and(|(open, _)| *open >= level) {
            self.0.pop();
        }
    }

    /// Opens a heading.
    pub fn enter(&mut self, level: u8, title: String) {
        self.leave(level);
        self.0.push((level, title));
    }

    /// The path in at most `max` characters: inner headings say more, so that outer ones go first.
    pub fn show(&self, max: usize) -> String {
        let mut shown = String::new();
        for (_, title) in self.0.iter().rev() {
            let longer = if shown.is_empty() { title.clone() } else { format!("{title}{STEP}{shown}") };
            if longer.chars().count() > max {
                break;
            }
            shown = longer;
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_ends_its_equals_and_what_is_below_them() {
        let mut path = HeadingPath::default();
        for (level, title, shown) in
            [(1, "A", "A"), (3, "B", "A > B"), (2, "C", "A > C"), (2, "D", "A > D"), (1, "E", "E")]
        {
            path.enter(level, title.to_owned());
            assert_eq!(path.show(100), shown);
        }
    }

    #[test]
    fn outer_headings_give_way() {
        let mut path = HeadingPath::default();
        for (level, title) in [(1, "naïveté"), (2, "bb"), (3, "cc")] {
            path.enter(level, title.to_owned());
        }
        assert_eq!(path.show(17), "naïveté > bb > cc");
        assert_eq!(path.show(16), "bb > cc");
        assert_eq!(path.show(6), "cc");
        assert_eq!(path.show(1), "");
    }
}
