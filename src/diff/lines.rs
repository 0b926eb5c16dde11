//! The lines in which two short texts differ.

/// Lines of a text that are compared one by one; of longer ones it is only said that they differ.
const MOST: usize = 800;

/// `-` lines of the old and `+` lines of the new, in order; `None` where the texts are too long to say.
pub(crate) fn differences(old: &str, new: &str) -> Option<Vec<String>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    if old.len() > MOST || new.len() > MOST {
        return None;
    }
    // The longest common subsequence, from the end.
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a * width + b] = if old[a] == new[b] {
                common[(a + 1) * width + b + 1] + 1
            } else {
                common[(a + 1) * width + b].max(common[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == new.len() || (a < old.len() && common[(a + 1) * width + b] >= common[a * width + b + 1]) {
            lines.push(format!("-{}", old[a]));
            a += 1;
        } else {
            lines.push(format!("+{}", new[b]));
            b += 1;
        }
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs() {
        assert_eq!(differences("a\nb\nc", "a\nx\nc").unwrap(), ["-b", "+x"]);
        assert_eq!(differences("", "a\nb").unwrap(), ["+a", "+b"]);
        assert_eq!(differences("a\nb\nc\nd", "b\nd").unwrap(), ["-a", "-c"]);
        assert_eq!(differences("same", "same").unwrap(), Vec::<String>::new());
        assert_eq!(differences(&"x\n".repeat(2000), ""), None);
    }

    proptest! {
        #[test]
        fn the_new_text_is_the_old_one_with_its_differences(old in "[ab\n]{0,30}", new in "[ab\n]{0,30}") {
            let lines = differences(&old, &new).unwrap();
            let count = |text: &str| i64::try_from(text.lines().count()).unwrap();
            let of = |sign: char| i64::try_from(lines.iter().filter(|line| line.starts_with(sign)).count()).unwrap();
            prop_assert_eq!(count(&old) - of('-'), count(&new) - of('+'));
        }
    }
}
