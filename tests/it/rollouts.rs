//! Rollouts as the control plane drives them: on a clock that the tests move, through the API, and with real gateways.

mod calibration;
mod deciding;
mod driving;
mod gates;
mod killed;
mod signals;
mod world;
