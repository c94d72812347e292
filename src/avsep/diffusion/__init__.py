"""From noise to data: schedules, training targets, samplers, flow matching; tensors alone."""
