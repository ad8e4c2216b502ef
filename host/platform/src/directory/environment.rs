//! A guest's environment: its variables, and over them what the platform says of the function.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use larder_model::ids::DeploymentId;
use larder_model::{Function, Limits};
use larder_runtime::backends::Variables;

/// What the replaced platform says of version control, which there is none of.
const EMPTY: [&str; 12] = [
    "APPWRITE_VCS_REPOSITORY_ID",
    "APPWRITE_VCS_REPOSITORY_NAME",
    "APPWRITE_VCS_REPOSITORY_OWNER",
    "APPWRITE_VCS_REPOSITORY_URL",
    "APPWRITE_VCS_REPOSITORY_BRANCH",
    "APPWRITE_VCS_REPOSITORY_BRANCH_URL",
    "APPWRITE_VCS_COMMIT_HASH",
    "APPWRITE_VCS_COMMIT_MESSAGE",
    "APPWRITE_VCS_COMMIT_URL",
    "APPWRITE_VCS_COMMIT_AUTHOR_NAME",
    "APPWRITE_VCS_COMMIT_AUTHOR_URL",
    "APPWRITE_VCS_ROOT_DIRECTORY",
];
/// There is one.
const REGION: &str = "default";

/// What environments are made of beside the function itself. They are made when they are first needed: most of many functions
/// are not called.
pub struct Parts {
    /// The variables, decrypted.
    own: Vec<(String, String)>,
    /// `manual` or `cli`.
    kind: String,
    endpoint: Arc<str>,
    made: OnceLock<Arc<Variables>>,
}

impl Parts {
    pub fn new(own: Vec<(String, String)>, kind: String, endpoint: Arc<str>) -> Parts {
        Parts { own, kind, endpoint, made: OnceLock::new() }
    }

    /// The environment of the function with this active deployment.
    pub fn get(&self, function: &Function, deployment: &DeploymentId, limits: &Limits) -> Arc<Variables> {
        self.made.get_or_init(|| Arc::new(self.of(function, deployment, limits))).clone()
    }

    /// A name of the platform is the platform's.
    fn of(&self, function: &Function, deployment: &DeploymentId, limits: &Limits) -> Variables {
        let (runtime, version) = function.runtime.rsplit_once('-').unwrap_or((&function.runtime, ""));
        let mebibytes = (limits.memory_bytes >> 20).to_string();
        // `s-0.5vcpu-512mb`
        let cpus = function.specification.split('-').find_map(|part| part.strip_suffix("vcpu")).unwrap_or("1");
        let told: [(&'static str, &str); 18] = [
            ("APPWRITE_FUNCTION_API_ENDPOINT", &self.endpoint),
            ("APPWRITE_FUNCTION_ID", function.id.as_str()),
            ("APPWRITE_FUNCTION_NAME", &function.name),
            ("APPWRITE_FUNCTION_DEPLOYMENT", deployment.as_str()),
            ("APPWRITE_FUNCTION_PROJECT_ID", function.partner.as_str()),
            ("APPWRITE_FUNCTION_RUNTIME_NAME", runtime),
            ("APPWRITE_FUNCTION_RUNTIME_VERSION", version),
            ("APPWRITE_FUNCTION_CPUS", cpus),
            ("APPWRITE_FUNCTION_MEMORY", &mebibytes),
            ("APPWRITE_VERSION", larder_wire::FORMAT_VERSION),
            ("APPWRITE_REGION", REGION),
            ("APPWRITE_DEPLOYMENT_TYPE", &self.kind),
            ("LARDER_API_ENDPOINT", &self.endpoint),
            ("LARDER_PARTNER_ID", function.partner.as_str()),
            ("LARDER_FUNCTION_ID", function.id.as_str()),
            ("LARDER_FUNCTION_NAME", &function.name),
            ("LARDER_DEPLOYMENT_ID", deployment.as_str()),
            ("LARDER_VERSION", larder_model::VERSION),
        ];
        let taken: HashSet<&str> = told.iter().map(|(name, _)| *name).chain(EMPTY).collect();
        let own = self.own.iter().filter(|(name, _)| !taken.contains(name.as_str()));
        let own = own.map(|(name, value)| (Cow::Owned(name.clone()), Cow::Owned(value.clone())));
        let told = told.into_iter().map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value.to_owned())));
        own.chain(told).chain(EMPTY.map(|name| (Cow::Borrowed(name), Cow::Borrowed("")))).collect()
    }
}
