//! Patterns of names, in which * stands for any characters and ? for one.

/// Returns whether a text matches a pattern, in which * stands for any characters and ? for one.
///
/// After a mismatch only the last * is extended, because the text before it matches already. The run time is at most the
/// product of both lengths.
#[must_use]
pub fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut of, mut star) = (0_usize, 0_usize, None::<(usize, usize)>);
    while let Some(now) = text.get(at) {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == now => {
                at += 1;
                of += 1;
            }
            Some(_) | None => {
                let Some((last, from)) = star else { return false };
                star = Some((last, from + 1));
                (of, at) = (last + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(of).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_a_question_mark_for_one() {
        for (text, pattern, fits) in [
            ("r1-n07", "r1-*", true),
            ("r1-n07", "r1-n0?", true),
            ("r1-n07", "r1-n?", false),
            ("r1-n07", "*7", true),
            ("r1-n07", "*8", false),
            ("aab", "*ab", true),
            ("é", "?", true),
            ("", "*", true),
            ("", "?", false),
            ("n", "N", false),
        ] {
            assert_eq!(is_like(text, pattern), fits, "{text:?} {pattern:?}");
        }
    }
}
