"""Methods of unlearning that every family can use: one module each, named like its entry in the configuration.

A method is `direction(step, **settings)`: the flat gradient along which the optimiser descends, so that what it adds to
the weights is minus this. Or it is `edit(network, context, **settings)`, which changes the network in place itself and
gives a log, a list of one row per step. A family's own methods, `<family>/methods`, are the same.
"""
