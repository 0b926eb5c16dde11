//! `nixbox explain`: what each check tests, what usually breaks it, and what to do then, from its row.

use crate::failure::{Failure, Result};
use crate::model::{CheckId, CheckRow, Weight};
use crate::text::{nearest, quote};

/// All checks with a line each, for `--list-checks`.
pub fn table() -> String {
    let width = CheckId::rows().map(|row| row.name.len()).max().unwrap_or(0);
    CheckId::rows().map(|row| format!("{:width$}  {}\n", row.name, row.summary)).collect()
}

/// Explains a check; without an id, lists them all.
///
/// # Errors
/// Exit 2 for an id that no check has, with the nearest that one has.
pub fn explain(id: Option<&str>) -> Result<String> {
    let Some(id) = id else {
        return Ok(format!("{}\nnixbox explain ID says more about one\n", table()));
    };
    match id.parse::<CheckId>().map(|id| id.row()).ok().or_else(|| CheckId::rows().find(|row| row.name == id)) {
        Some(row) => Ok(explained(row)),
        None => {
            let failure = Failure::usage(format!("there is no check {}", quote(id)));
            Err(match nearest(id, CheckId::rows().map(|row| row.name)) {
                Some(near) => failure.hint(format!("did you mean {near}? `nixbox explain` lists them all")),
                None => failure.hint("`nixbox explain` lists them all"),
            })
        }
    }
}

fn explained(row: &CheckRow) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let weight = match row.weight {
        Weight::Expected => "",
        Weight::Advice => "\nWhere this check cannot tell, the run still passes.\n",
    };
    format!(
        "{}: {}\n{weight}\nwhat is tested:\n{}usually broken by:\n{}what to do:\n{}",
        row.name,
        row.summary,
        indented(row.tests),
        indented(row.causes),
        indented(row.remedy),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Exit;

    #[test]
    fn all_texts() {
        insta::assert_snapshot!("list-checks", table());
        insta::assert_snapshot!("explain-list", explain(None).unwrap());
        let all = CheckId::rows().map(|row| explain(Some(row.name)).unwrap()).collect::<Vec<_>>();
        insta::assert_snapshot!("explain", all.join("\n"));
    }

    #[test]
    fn each_fits_a_screen() {
        for row in CheckId::rows() {
            let text = explain(Some(row.name)).unwrap();
            assert!(text.starts_with(&format!("{}: {}\n", row.name, row.summary)), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 124), "{text}");
            assert!(text.lines().count() <= 18, "{text}");
        }
    }

    #[test]
    fn any_script_and_the_whole_list() {
        assert!(explain(Some("script.hello")).unwrap().starts_with("script.<name>: "));
        let list = explain(None).unwrap();
        assert!(list.starts_with(&table()), "{list}");
    }

    #[test]
    fn a_typo_names_the_nearest() {
        let failure = explain(Some("services.faild-units")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.unwrap().contains("did you mean services.failed-units?"));
        assert!(explain(Some("…")).unwrap_err().hint.unwrap().contains("lists them all"));
    }

    #[test]
    fn advice_is_reported_as_such() {
        assert!(explain(Some("boot.taint")).unwrap().contains("the run still passes"));
        assert!(!explain(Some("boot.oom")).unwrap().contains("the run still passes"));
    }
}
