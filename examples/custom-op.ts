/** An operation with a gradient of its own: log(1 + eˣ). Written down plainly its derivative is eˣ / (1 + eˣ), which is ∞ / ∞ where eˣ
 *  overflows; the rule says what it is, the sigmoid of x. */
import { customVjp, grad, hessian, type Tensor, tensor } from "sinan";

const plain = (x: Tensor): Tensor => x.exp().add(1).log();
const softplus = customVjp(
  (x: Tensor) => x.maximum(0).add(x.abs().neg().exp().add(1).log()),
  (cotangent, _result, x) => [cotangent.div(x.neg().exp().add(1))],
);

const x = tensor([-2, 0, 3, 100]);
console.log(`plain     ${await grad((v: Tensor) => plain(v).sum())(x).toText()}`);
console.log(`with rule ${await grad((v: Tensor) => softplus(v).sum())(x).toText()}`);

// The rule is differentiated in its turn.
const second = hessian((v: Tensor) => softplus(v).sum())(tensor([0]));
console.log(`second derivative at 0: ${await second.item()}`);
