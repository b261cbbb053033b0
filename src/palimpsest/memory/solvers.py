"""Solvers of one inverted step of the sampler: z = F(z) := scale z_s + weight eps(z, t), for many pictures at once.

Each is solver(equation, start, iterations, tolerance) -> Solution. start: (n, c, h, w), the first guess, z_s. A
picture whose residual rms(F(z) - z) is at most the tolerance is evaluated no more, whatever the others do. What a
solver gives is F of its last guess or a step beyond it, so its own residual is not known without one more evaluation;
the one reported is that of the last guess.

F contracts by q = weight times the Lipschitz constant of eps. Where q < 1 the sampler is a bijection near the picture,
and every network, whatever it has learned or forgotten, gives every picture back: what fails then is the solver.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from palimpsest.memory.ddim import Predict, Transition, inverted, psi


@dataclass(frozen=True)
class Equation:
    """z = F(z) of one step. cleaner: z_s, clean: z_0 of each picture, (n, c, h, w)."""

    predict: Predict
    step: Transition
    cleaner: Tensor
    clean: Tensor

    def image(self, guess: Tensor, rows: Tensor) -> Tensor:
        """F of guesses (k, c, h, w) for the pictures `rows` (k,)."""
        noise = self.predict(guess, self.step.timestep, rows).to(guess.dtype)
        return inverted(self.step, self.cleaner[rows], noise)


@dataclass(frozen=True)
class Solution:
    """latents: (n, c, h, w); residuals: rms (n,); evaluations of the network (n,) int64."""

    latents: Tensor
    residuals: Tensor
    evaluations: Tensor


def rms(difference: Tensor) -> Tensor:
    """Root mean square of each picture (n,)."""
    return difference.flatten(1).square().mean(1).sqrt()


def ddim(equation: Equation, start: Tensor, iterations: int, tolerance: float) -> Solution:
    """One Euler step: eps at z_s with the label t (diffusers' DDIMInverseScheduler). Nothing is iterated."""
    return fixed_point(equation, start, 0, 0.0)


def fixed_point(equation: Equation, start: Tensor, iterations: int, tolerance: float) -> Solution:
    """z <- F(z), first from the start, then at most `iterations` times more (AIDI and FPI without acceleration)."""
    guess, active, residuals, evaluations = _begin(start)
    for _ in range(iterations + 1):
        image = equation.image(guess[active], active)
        residuals[active] = rms(image - guess[active])
        guess[active] = image
        evaluations[active] += 1
        # Not a number is not above the tolerance: a picture that left the numbers is not evaluated on.
        active = active[residuals[active] > tolerance]
        if not len(active):
            break
    return Solution(guess, residuals, evaluations)


def anderson(equation: Equation, start: Tensor, iterations: int, tolerance: float, memory: int = 3) -> Solution:
    """Anderson acceleration (1965; Walker and Ni 2011, type II) of the last `memory` guesses, with a safeguard.

    The next guess is the mixture of images whose residuals cancel best in the least squares. A residual a fifth above
    the picture's best restarts it from that best guess, with half the step from then on, and forgets the rest: where
    eps bends sharply (q > 1) plain iteration runs away. A picture that does not converge ends a step from its best.
    The residual is that of the best guess.
    """
    guess, active, _, evaluations = _begin(start)
    n, size = len(start), start[0].numel()
    guesses, errors = start.new_zeros(memory, n, size), start.new_zeros(memory, n, size)
    valid = torch.zeros(memory, n, dtype=torch.bool, device=start.device)
    best, best_guess, best_error = start.new_full((n,), math.inf), guess.flatten(1).clone(), guesses[0].clone()
    share, last = start.new_ones(n, 1), start.new_zeros(n)  # share: of the whole step
    for iteration in range(iterations + 1):
        at = guess[active].flatten(1)
        error = equation.image(guess[active], active).flatten(1) - at
        residual = rms(error)
        evaluations[active] += 1
        last[active], better = residual, residual < best[active]
        found = active[better]
        best[found], best_guess[found], best_error[found] = residual[better], at[better], error[better]
        worse = ~(residual <= 1.2 * best[active])
        restarted, slot = active[worse], iteration % memory
        share[restarted] /= 2
        mixed = _mixed(at, error, guesses[:, active], errors[:, active], valid[:, active], share[active])
        guesses[slot, active], errors[slot, active], valid[slot, active] = at, error, True
        valid[:, restarted] = False
        mixed[worse] = best_guess[restarted] + share[restarted] * best_error[restarted]
        guess[active] = mixed.view(-1, *start.shape[1:])
        # What has left the numbers stops too.
        active = active[(residual > tolerance) & (best[active] < math.inf)]
        if not len(active):
            break
    # Converged, or the last guess was a worse one than an earlier: from the best.
    from_best = (best <= tolerance) | (last > best)
    share[best <= tolerance] = 1
    guess[from_best] = (best_guess + share * best_error)[from_best].view(-1, *start.shape[1:])
    return Solution(guess, torch.where(best < math.inf, best, math.nan), evaluations)


def _mixed(at: Tensor, error: Tensor, guesses: Tensor, errors: Tensor, valid: Tensor, share: Tensor) -> Tensor:
    """The next guess (k, d): at and error (k, d) now, guesses, errors (m, k, d), valid (m, k) before, share (k, 1)."""
    errors_by = ((error - errors) * valid[..., None]).double().transpose(0, 1)  # (k, m, d)
    guesses_by = ((at - guesses) * valid[..., None]).double().transpose(0, 1)
    lengths = errors_by.norm(dim=2).clamp_min(1e-30)
    unit = errors_by / lengths[..., None]
    gram = unit @ unit.transpose(1, 2)
    # Residuals of neighbouring guesses are nearly parallel; a missing one has a zero row, and gets no weight.
    gram += 1e-8 * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram, unit @ error.double()[..., None]) / lengths[..., None]
    moved = (weights * (guesses_by + share[:, None].double() * errors_by)).sum(1)
    return at + share * error - moved.to(at.dtype)


def renoise(equation: Equation, start: Tensor, iterations: int, tolerance: float) -> Solution:
    """ReNoise (Garibi et al. 2024) as Memories of Forgotten Concepts configures it: iterations 5, no test of residuals.

    Below t = 250 the noise of the first `iterations` of iterations + 1 evaluations is averaged; from there on the
    configured range of averaging, from the ninth evaluation, is never reached, and it is a plain fixed-point iteration.
    Left out: the regularisation of the noise (patch-wise KL divergence and autocorrelation), which the release applies
    below t = 250 only and towards the noise predicted for the clean latents, and the correction of noise, which a
    deterministic sampler does not have. The release pays one evaluation per step more for that target.
    """
    guess, active, residuals, evaluations = _begin(start)
    averaged, total = equation.step.timestep < 250 and iterations > 0, torch.zeros_like(start)
    for iteration in range(iterations + 1):
        image = equation.image(guess, active)
        residuals, guess = rms(image - guess), image
        total += image if iteration < iterations else 0.0
    # F is affine in the noise, so the mean of its images is its image of the mean noise.
    return Solution(total / iterations if averaged else guess, residuals, evaluations + iterations + 1)


def rnri(equation: Equation, start: Tensor, iterations: int, tolerance: float) -> Solution:
    """Newton-Raphson inversion as released (RNRI, Samuel et al., arXiv 2312.12540): at most `iterations` evaluations.

    The scalar g = sum |F(z) - z| + 0.1 sum ((x - z_0) / psi)^2 / 2, x = F(z) / sqrt(a), is driven to zero by
    z_i <- z_i - g / (d g_i). The release predicts the noise without gradients, so that g_i is only the sign of
    z - F(z): every coordinate moves by the same length, mean |F(z) - z| plus the mean prior, towards F(z). It gives
    F of the guess with the least g.
    """
    return _newton(equation, start, iterations, tolerance, prior=0.1, through_network=False)


def rnri_gradient(equation: Equation, start: Tensor, iterations: int, tolerance: float) -> Solution:
    """RNRI's equation with the network's slopes in g_i (autograd), and without the prior, which would bias the root.

    1 / g_i has no bound, so slopes below a half are taken as a half: a coordinate moves at most twice the mean
    residual. A gradient counts as two evaluations. The length of a move still knows nothing of the coordinate's own
    residual, which is why it contracts slowly also where q is small.
    """
    return _newton(equation, start, iterations, tolerance, prior=0.0, through_network=True)


def _newton(
    equation: Equation, start: Tensor, iterations: int, tolerance: float, *, prior: float, through_network: bool
) -> Solution:
    """z_i <- z_i - g / (d g_i), see rnri and rnri_gradient."""
    guess, active, residuals, evaluations = _begin(start)
    best, given = torch.full_like(residuals, math.inf), start.clone()
    alpha = equation.step.alpha
    for _ in range(max(iterations, 1)):
        with torch.set_grad_enabled(through_network):
            at = guess[active].requires_grad_(through_network)
            image = equation.image(at, active)
            distance = (image - at).abs().flatten(1).mean(1)
            total = distance.sum() * at[0].numel()
        slope = torch.autograd.grad(total, at)[0] if through_network else (at - image).sign()
        if through_network:
            slope = torch.where(slope < 0, -1.0, 1.0) * slope.abs().clamp_min(0.5)
        at, image, distance = at.detach(), image.detach(), distance.detach()
        far = (image / math.sqrt(alpha) - equation.clean[active]) / psi(alpha)
        score = distance + prior * far.square().flatten(1).mean(1) / 2
        evaluations[active] += 3 if through_network else 1
        residual, better = rms(image - at), score < best[active]
        best[active[better]], given[active[better]] = score[better], image[better]
        residuals[active[better]] = residual[better]
        move = torch.where(slope == 0, torch.zeros_like(slope), score.view(-1, 1, 1, 1) / slope)
        guess[active] = at - move
        active = active[residual > tolerance]
        if not len(active):
            break
    return Solution(given, residuals, evaluations)


def heun(equation: Equation, start: Tensor, iterations: int, tolerance: float) -> Solution:
    """Heun's explicit step of dx / dpsi = eps, of second order: eps at both ends of the step. Two evaluations.

    It inverts Heun's sampler (`palimpsest.memory.inversion.SAMPLERS`), not DDIM's: the seed is that of the flow itself,
    up to the third power of the step. The residual is its distance to the Euler step. From clean latents (share 1),
    where a network has no label, it is Euler's step, as in the sampler's last.
    """
    _, active, _, evaluations = _begin(start)
    step = equation.step
    if step.alpha_before == 1:
        return ddim(equation, start, 0, 0.0)
    first = equation.predict(start, max(step.before, 0), active).to(start.dtype)
    euler = inverted(step, start, first)
    second = equation.predict(euler, step.timestep, active).to(start.dtype)
    latents = inverted(step, start, (first + second) / 2)
    return Solution(latents, rms(latents - euler), evaluations + 2)


def _begin(start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first guess, all pictures active, no residuals yet, no evaluations yet."""
    n = len(start)
    active = torch.arange(n, device=start.device)
    return start.clone(), active, start.new_full((n,), math.nan), torch.zeros_like(active)


Solver = Callable[[Equation, Tensor, int, float], Solution]
SOLVERS: dict[str, Solver] = {
    solver.__name__: solver for solver in (ddim, fixed_point, anderson, renoise, rnri, rnri_gradient, heun)
}
