(* Closed facts: values of powers, sums, floors and roots; the rest is linear or interval arithmetic. *)
From dlinear Require Export matrices.
From Interval Require Export Tactic.

Lemma floor_is x z : IZR z <= x < IZR z + 1 -> Int_part x = z.
Proof.
  intros H; unfold Int_part; rewrite <- (tech_up x (z + 1)); [lia| |]; rewrite plus_IZR; lra.
Qed.
Lemma root_is x y : 0 <= y /\ y * y = x -> sqrt x = y.
Proof. intros [H <-]; now apply sqrt_square. Qed.

Ltac whole_powers :=
  repeat match goal with
  | |- context [powerRZ ?x ?z] =>
      let v := eval vm_compute in z in
      lazymatch v with
      | Z0 => change (powerRZ x z) with 1
      | Zpos ?p => let k := eval vm_compute in (Pos.to_nat p) in change (powerRZ x z) with (x ^ k)
      | Zneg ?p => let k := eval vm_compute in (Pos.to_nat p) in change (powerRZ x z) with (/ x ^ k)
      end
  end.
Ltac whole_sums :=
  repeat match goal with
  | |- context [sumZ ?f ?j] =>
      let k := eval vm_compute in (Z.to_nat j) in
      change (sumZ f j) with (sum_nat f k); cbn [sum_nat]
  end;
  cbv beta;
  repeat match goal with
  | |- context [Z.of_nat ?k] => let z := eval vm_compute in (Z.of_nat k) in change (Z.of_nat k) with z
  end.
Ltac order_of_numbers :=
  repeat match goal with
  | |- context [Rmin ?a ?b] => unfold Rmin at 1; destruct (Rle_dec a b)
  | |- context [Rmax ?a ?b] => unfold Rmax at 1; destruct (Rle_dec a b)
  end.
Ltac exp_of_zero :=
  try match goal with
  | |- context [exp ?x] =>
      replace (exp x) with 1 by (symmetry; transitivity (exp 0); [apply f_equal; field | apply exp_0])
  end.
Ltac number_fact :=
  exp_of_zero;
  rewrite ?exp_0, ?Rmult_0_r, ?Rmult_0_l; push;
  first
  [ lra
  | interval
  | split; [lra | interval] | split; [interval | lra] | split; lra
  | match goal with
    | |- ?a < ?b => first [replace a with 0 by (first [ring | field; lra]); interval]
    | |- ?a <= ?b => first [replace a with 0 by (first [ring | field; lra]); interval]
    end ].
Ltac evaluate :=
  lazymatch goal with
  | |- ?a <= ?b -> False => apply Rlt_not_le; evaluate
  | |- ?a < ?b -> False => apply Rle_not_lt; evaluate
  | |- ?a = ?b -> False => first [apply Rlt_not_eq; evaluate | apply Rgt_not_eq; evaluate]
  | _ => whole_sums; whole_powers; order_of_numbers; number_fact
  end.
