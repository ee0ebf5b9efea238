//! Rollouts as the control plane drives them: on a clock that the tests move, through the API, and with real gateways.

mod deciding;
mod driving;
mod gates;
mod killed;
mod world;
