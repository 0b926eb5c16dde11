//! `nixbox agent-guide`: one page for an agent that does not know nixbox.

/// The page, in Markdown.
pub const GUIDE: &str = include_str!("guide.md");

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::agent::Agent;
    use crate::config::Config;
    use crate::model::EXIT_CODES;

    #[test]
    fn each_exit_code_and_agent_is_there() {
        let codes = EXIT_CODES.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u8>().ok());
        for code in codes {
            assert!(GUIDE.lines().any(|line| line.starts_with(&format!("    {code:<5}"))), "{code}");
        }
        for agent in Agent::value_variants() {
            let value = agent.to_possible_value().unwrap();
            assert!(GUIDE.contains(value.get_name()), "{agent:?}");
        }
    }

    #[test]
    fn its_nixbox_toml_is_valid() {
        let begin = GUIDE.find("    units = [").unwrap();
        let end = begin + GUIDE[begin..].find("\n\n`nixbox schema config`").unwrap();
        let toml: String =
            GUIDE[begin..end].lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
        let settings = Config::parse(&toml, "nixbox.toml").unwrap().settings_for("");
        assert!(settings.http.contains_key("health") && settings.scripts.contains_key("database"), "{settings:?}");
    }

    #[test]
    fn it_is_one_page() {
        assert!(GUIDE.lines().count() < 90 && GUIDE.lines().all(|line| line.chars().count() <= 120));
    }
}
