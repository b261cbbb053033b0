"""Methods of instance unlearning: one module each, named like its entry in the configuration.

A method is `direction(step, **settings)`: the flat gradient along which the optimiser descends.
"""
