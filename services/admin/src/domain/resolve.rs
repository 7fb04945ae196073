//! Which models serve an agent's task type.

use embermesh_proto::v1::{Agent, ModelPreference};

/// The task type of requests that name none.
pub(crate) const DEFAULT_TASK_TYPE: &str = "general_qa";

/// The preference for `task_type` in the configuration that the agent runs on, else the one for general questions there, else the
/// defaults. Without any the lists are empty, and the router decides. What the tenant may not use is left out; `allowed` is empty
/// where it may use everything.
pub(crate) fn resolve(
    agent: Option<&Agent>,
    task_type: &str,
    defaults: &[String],
    allowed: &[String],
) -> ModelPreference {
    let preferences = agent.map_or(&[][..], |agent| &agent.model_preferences);
    let of = |name: &str| preferences.iter().find(|preference| preference.task_type == name);
    let mut found = of(task_type).or_else(|| of(DEFAULT_TASK_TYPE)).cloned().unwrap_or_else(|| {
        ModelPreference { primary_models: defaults.to_vec(), ..ModelPreference::default() }
    });
    found.task_type = task_type.to_owned();
    if !allowed.is_empty() {
        found.primary_models.retain(|id| allowed.contains(id));
        found.fallback_models.retain(|id| allowed.contains(id));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_preference_wins() {
        let preference = |task_type: &str, model: &str| ModelPreference {
            task_type: task_type.to_owned(),
            primary_models: vec![model.to_owned()],
            fallback_models: vec![],
        };
        let models = |agent: Option<&Agent>, task_type: &str| {
            let found = resolve(agent, task_type, &["default".to_owned()], &[]);
            assert_eq!(found.task_type, task_type);
            found.primary_models
        };
        let research = preference("research", "large");
        let agent = Agent {
            model_preferences: vec![research.clone(), preference("general_qa", "small")],
            ..Agent::default()
        };
        assert_eq!(models(Some(&agent), "research"), ["large"]);
        assert_eq!(models(Some(&agent), "code_analysis"), ["small"]);
        let narrow = Agent { model_preferences: vec![research], ..Agent::default() };
        assert_eq!(models(Some(&narrow), "code_analysis"), ["default"]);
        assert_eq!(models(None, "research"), ["default"]);
        let allowed = resolve(Some(&agent), "research", &[], &["small".to_owned()]);
        assert!(allowed.primary_models.is_empty(), "{allowed:?}");
    }
}
