//! Which of all nodes, as people say it.

use clap::Args;
use proto::api::v1::NodeSelector;

/// Which nodes: all that is said must hold; of what is said more than once, one is enough.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only those of this name or id; * stands for any characters, ? for one.
    #[arg(long, value_name = "PATTERN", help_heading = "Which nodes")]
    name: Vec<String>,
    /// Only those of this rack.
    #[arg(long, value_name = "RACK", help_heading = "Which nodes")]
    rack: Vec<String>,
    /// Only those in this state, such as available or "deploy failed".
    #[arg(long, value_name = "STATE", help_heading = "Which nodes")]
    state: Vec<String>,
    /// Only those of this driver, such as ipmi.
    #[arg(long, value_name = "DRIVER", help_heading = "Which nodes")]
    driver: Vec<String>,
    /// Only those of this resource class.
    #[arg(long, value_name = "CLASS", help_heading = "Which nodes")]
    resource_class: Vec<String>,
    /// Only those with this trait; said more than once, with all of them.
    #[arg(long = "trait", value_name = "TRAIT", help_heading = "Which nodes")]
    traits: Vec<String>,
    /// Only those of this owner, a project.
    #[arg(long, value_name = "PROJECT", help_heading = "Which nodes")]
    owner: Vec<String>,
    /// Only those in maintenance; =false: only those that are not.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Which nodes"
    )]
    maintenance: Option<bool>,
    /// Only those with a failure that nothing has made good since; =false: only those without.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Which nodes"
    )]
    failed: Option<bool>,
}

impl Filter {
    /// As the API takes it; none: all nodes.
    pub(super) fn wire(self) -> Option<NodeSelector> {
        let selector = NodeSelector {
            nodes: self.name,
            racks: self.rack,
            states: self.state,
            drivers: self.driver,
            resource_classes: self.resource_class,
            traits: self.traits,
            owners: self.owner,
            maintenance: self.maintenance,
            failed: self.failed,
        };
        (selector != NodeSelector::default()).then_some(selector)
    }
}
