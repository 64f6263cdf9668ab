! SPDX-License-Identifier: Apache-2.0
! A host whose fields live on a GPU, by OpenACC; compiled for its own processor, or without OpenACC, it runs there.
program device
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   implicit none
   type(coupler_t) :: coupler
   integer, parameter :: n = 5
   integer :: id(n), i, istep
   real(real64), target :: t2m(n), swdown(n), lai(n)

   id = [(i, i=1, n)]
   lai = -1
   swdown = 200
   !$acc enter data create(t2m) copyin(swdown, lai)
   call couple(id, 1.0_real64*id, 1.0_real64*id, t2m, swdown, lai)
   do istep = 1, 2
      !$acc parallel loop present(t2m) copyin(id) async
      do i = 1, n
         t2m(i) = 280 + 0.1_real64*id(i) + merge(-1, 1, mod(istep, 2) == 0)   ! the mean of an hour is 280 + 0.1*id
      end do
      !$acc wait
      call coupler%step()
   end do
   !$acc exit data copyout(lai) delete(t2m, swdown)
   call coupler%finalize()
   print '(a, l1)', 'device=', all(abs(lai - (0.01*(280 + 0.1*id - 273.15) + 0.2)) < 1e-5)
contains
   include 'device.inc'
end program device
